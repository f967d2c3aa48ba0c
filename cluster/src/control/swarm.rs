//! The swarm's own settings and join tokens.

use skep_common::duration::nanoseconds;
use tonic::Request;

use super::{ControlService, out_of_sequence};
use crate::api::{GetClusterRequest, GetClusterResponse, UpdateClusterRequest, UpdateClusterResponse};
use crate::ca::{JoinToken, NODE_VALIDITY_MIN, new_secret};
use crate::error::Error;
use crate::model::Cluster;
use crate::store::update;

impl ControlService {
    pub(super) async fn get_cluster(&self, _: Request<GetClusterRequest>) -> Result<GetClusterResponse, Error> {
        let view = self.read().await?;
        Ok(GetClusterResponse { cluster: view.cluster().map(|cluster| without_keys(cluster).into()) })
    }

    pub(super) async fn update_cluster(
        &self,
        request: Request<UpdateClusterRequest>,
    ) -> Result<UpdateClusterResponse, Error> {
        let request = request.into_inner();
        if let Some(spec) = &request.spec {
            let minimum = nanoseconds(NODE_VALIDITY_MIN);
            if spec.node_cert_expiry_ns != 0 && spec.node_cert_expiry_ns < minimum {
                return Err(Error::bad_argument("minimum certificate expiry time must be: 1h0m0s"));
            }
            if spec.dispatcher_heartbeat_ns < 0 {
                return Err(Error::bad_argument("heartbeat time period cannot be a negative duration"));
            }
        }
        let secrets = (request.rotate_worker_token.then(new_secret), request.rotate_manager_token.then(new_secret));
        self.write(|view| {
            let mut cluster = Cluster::clone(view.cluster().ok_or_else(|| Error::not_found("cluster not found"))?);
            let stored = cluster.meta.version;
            // A rotation alone overwrites nothing that somebody might have read before.
            if request.spec.is_some() && request.version != stored {
                return Err(out_of_sequence());
            }
            if let Some(spec) = &request.spec {
                cluster.spec = spec.clone();
            }
            let root = cluster.root_ca.get_or_insert_default();
            let digest = root.cert_digest.clone();
            let token = |secret: &String| JoinToken { digest: digest.clone(), secret: secret.clone() }.to_string();
            let tokens = root.join_tokens.get_or_insert_default();
            if let Some(secret) = &secrets.0 {
                tokens.worker = token(secret);
            }
            if let Some(secret) = &secrets.1 {
                tokens.manager = token(secret);
            }
            Ok((vec![update(cluster)], ()))
        })
        .await?;
        let view = self.store.view();
        Ok(UpdateClusterResponse { cluster: view.cluster().map(|cluster| without_keys(cluster).into()) })
    }
}

fn without_keys(cluster: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    if let Some(root) = &mut cluster.root_ca {
        root.key_pem.clear();
    }
    cluster
}

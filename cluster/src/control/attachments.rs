//! Addresses lent to single containers on attachable networks. Workers may ask too, for themselves.

use skep_common::ErrorKind;
use tonic::Request;

use super::{ControlService, refs};
use crate::api::{
    CreateAttachmentRequest, CreateAttachmentResponse, ObjectKind, RemoveAttachmentRequest, RemoveAttachmentResponse,
};
use crate::error::Error;
use crate::model::{Attachment, Network};
use crate::store::{View, create, remove};
use crate::wire::Caller;

/// Docker's words where no address came in time.
const TIMED_OUT: &str = "attaching to network failed, make sure your network options are correct and check manager \
                         logs: context deadline exceeded";

impl ControlService {
    pub(super) async fn create_attachment(
        &self,
        request: Request<CreateAttachmentRequest>,
    ) -> Result<CreateAttachmentResponse, Error> {
        let caller = request.extensions().get::<Caller>().cloned();
        let mut request = request.into_inner();
        request.node_id = own_node(caller.as_ref(), &request.node_id)?;
        let id = self
            .write(|view| {
                let network = refs::network(view, &request.network_ref)?;
                if !network.spec.attachable {
                    let name = network.name();
                    return Err(Error::forbidden(format!("network {name} not manually attachable")));
                }
                let mut attachments = view.attachments().values();
                let existing =
                    attachments.find(|a| a.container_id == request.container_id && a.network_id == network.id);
                if let Some(existing) = existing {
                    return Ok((vec![], existing.id.clone()));
                }
                let attachment = Attachment {
                    id: self.surroundings.chance.id().into(),
                    network_id: network.id.clone(),
                    node_id: request.node_id.as_str().into(),
                    container_id: request.container_id.clone(),
                    container_name: request.container_name.clone(),
                    aliases: request.aliases.clone(),
                    address: request.address.clone(),
                    ..Attachment::default()
                };
                let id = attachment.id.clone();
                Ok((vec![create(attachment)], id))
            })
            .await?;
        self.lent(id.as_str()).await
    }

    pub(super) async fn remove_attachment(
        &self,
        request: Request<RemoveAttachmentRequest>,
    ) -> Result<RemoveAttachmentResponse, Error> {
        let caller = request.extensions().get::<Caller>().cloned();
        let request = request.into_inner();
        self.write(|view| {
            let attachments = view.attachments().values();
            let mut actions = Vec::new();
            for attachment in attachments.filter(|a| {
                a.container_id == request.container_id
                    && (request.network_id.is_empty() || a.network_id == request.network_id)
            }) {
                own_node(caller.as_ref(), &attachment.node_id)?;
                actions.push(remove(ObjectKind::Attachment, attachment.id.clone()));
            }
            Ok((actions, ()))
        })
        .await?;
        Ok(RemoveAttachmentResponse {})
    }

    async fn lent(&self, id: &str) -> Result<CreateAttachmentResponse, Error> {
        let mut views = self.store.watch();
        let decided =
            |view: &View| view.attachments().get(id).is_none_or(|a| a.is_allocated() || !a.allocation_error.is_empty());
        let waiting = views.wait_for(|view| decided(view));
        let timed_out = self.surroundings.clock.limit(self.timing.proposal(), waiting).await.is_err();
        let view = self.store.view();
        let attachment = view.attachments().get(id).cloned();
        let refused = match &attachment {
            Some(a) if a.allocation_error.is_empty() && !timed_out => None,
            Some(a) if !a.allocation_error.is_empty() => Some(Error::conflict(a.allocation_error.clone())),
            Some(_) => Some(Error::new(ErrorKind::Timeout, TIMED_OUT)),
            None => Some(Error::not_found("the attachment was removed meanwhile")),
        };
        if let Some(refused) = refused {
            self.write(|_| Ok((vec![remove(ObjectKind::Attachment, id)], ()))).await?;
            return Err(refused);
        }
        let network = attachment.as_ref().and_then(|a| view.networks().get(&a.network_id));
        Ok(CreateAttachmentResponse {
            network: network.map(|network| Network::clone(network).into()),
            attachment: attachment.map(|attachment| Attachment::clone(&attachment).into()),
        })
    }
}

/// The node that is meant: a worker speaks for itself alone.
fn own_node(caller: Option<&Caller>, node_id: &str) -> Result<String, Error> {
    match caller {
        Some(caller) if node_id.is_empty() || caller.node_id == *node_id => Ok(caller.node_id.to_string()),
        Some(caller) if !caller.is_manager() => Err(Error::forbidden("a worker can only attach its own containers")),
        _ => Ok(node_id.to_owned()),
    }
}

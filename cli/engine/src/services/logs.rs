//! The output of a service's tasks, from all nodes, as a stream.

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use skep_cluster::api::{LogMessage, ServiceLogsRequest, ServiceLogsResponse};

use crate::error::{Error, Result};
use crate::swarm::{Swarm, unless_missing};

/// Lines of a service or a task as they come; dropped, nobody sends any more.
pub type ServiceLogs = BoxStream<'static, Result<LogMessage>>;

impl Swarm {
    /// The output of a service or of one task. It ends with what there is, or with the tasks when it is followed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn service_logs(&self, request: ServiceLogsRequest) -> Result<ServiceLogs> {
        let name = request.r#ref.clone();
        let parts = self.client().service_logs(request).await;
        let parts = parts.map_err(|error| unless_missing(error, || format!("no such task or service: {name}")))?;
        let lines = |part: ServiceLogsResponse| stream::iter(part.messages.into_iter().map(Ok::<_, Error>));
        let messages = parts.map_ok(lines).map_err(Error::from).try_flatten();
        Ok(messages.boxed())
    }
}

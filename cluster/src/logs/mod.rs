//! Output of services' containers: the leader's broker asks the nodes that have it, and relays what they send.

mod broker;

pub(crate) use broker::LogBroker;

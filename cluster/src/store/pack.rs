//! Joins what is wanted at the same time to transactions that the replicated log can hold.

use prost::Message;

use crate::api::StoreAction;

/// Most actions in one raft entry.
pub(crate) const TRANSACTION_ACTIONS_MAX: usize = 200;
/// Most bytes of actions that are joined to one raft entry; well below what the store takes.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 2 << 20;

/// One transaction.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    pub(crate) actions: Vec<StoreAction>,
    /// Of so many units.
    pub(crate) units: usize,
}

/// Joins units to transactions of at most `limit` actions and [`TRANSACTION_BYTES_MAX`] bytes (a single unit may be
/// more than either).
pub(crate) fn packed(units: impl IntoIterator<Item = Vec<StoreAction>>, limit: usize) -> Vec<Packed> {
    let mut transactions: Vec<Packed> = Vec::new();
    let mut filled = 0;
    for unit in units.into_iter().filter(|unit| !unit.is_empty()) {
        let bytes: usize = unit.iter().map(Message::encoded_len).sum();
        match transactions.last_mut() {
            Some(last) if last.actions.len() + unit.len() <= limit && filled + bytes <= TRANSACTION_BYTES_MAX => {
                last.actions.extend(unit);
                last.units += 1;
                filled += bytes;
            }
            _ => {
                transactions.push(Packed { actions: unit, units: 1 });
                filled = bytes;
            }
        }
    }
    transactions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ObjectKind;
    use crate::store::remove;

    #[test]
    fn units_are_packed_but_never_split() {
        let unit = |n: usize| vec![remove(ObjectKind::Task, "t"); n];
        let sizes = |units: Vec<_>, limit| packed(units, limit).iter().map(|p| p.actions.len()).collect::<Vec<_>>();
        assert_eq!(sizes(vec![unit(2), unit(2), unit(2)], 4), [4, 2]);
        assert_eq!(sizes(vec![unit(3), unit(0), unit(1)], 1), [3, 1]);
        let large = || vec![remove(ObjectKind::Task, "t".repeat(TRANSACTION_BYTES_MAX / 2 - 100))];
        assert_eq!(sizes(vec![large(), large(), large(), unit(1)], 200), [2, 2]);
    }
}

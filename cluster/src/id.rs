//! Identifiers of cluster objects: 25 characters of base 36, as Swarm's users know them.

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 25;

/// An identifier (about 129 bits) of one number for each character.
pub(crate) fn from_numbers(mut number: impl FnMut() -> u64) -> String {
    let count = ALPHABET.len() as u64;
    (0..LENGTH)
        .map(|_| usize::try_from(number() % count).ok().and_then(|index| ALPHABET.get(index)).copied())
        .map(|character| char::from(character.unwrap_or(b'0')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::{Chance, SystemChance};

    #[test]
    fn ids_are_25_base36_characters_and_differ() {
        let (a, b) = (SystemChance.id(), SystemChance.id());
        assert_eq!(a.len(), 25);
        assert!(a.bytes().all(|c| ALPHABET.contains(&c)));
        assert_ne!(a, b);
        let mut next = 0..;
        assert_eq!(from_numbers(|| next.next().unwrap()), "0123456789abcdefghijklmno");
    }
}

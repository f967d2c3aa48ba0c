//! Names for containers that were given none: an adjective, an underscore, a noun of bees and hives.

const ADJECTIVES: [&str; 40] = [
    "amber", "bold", "brave", "bright", "brisk", "busy", "calm", "clever", "cosy", "daring", "deft", "eager", "fair",
    "gentle", "golden", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "mellow", "merry", "mighty", "nimble", "noble", "patient", "plucky", "proud", "quick", "quiet", "sunny", "sweet",
    "tidy", "warm", "wise",
];
const NOUNS: [&str; 40] = [
    "acacia", "alder", "apiary", "aster", "beeline", "blossom", "borage", "bumble", "carder", "clover", "colony",
    "comb", "dancer", "drone", "flower", "forager", "gorse", "hazel", "heather", "hive", "honey", "humming", "keeper",
    "lavender", "linden", "mason", "meadow", "mead", "nectar", "orchard", "pollen", "propolis", "queen", "scout",
    "skep", "swarm", "thyme", "wax", "willow", "worker",
];

/// A name nobody chose, for what was given none; after a few attempts with a number.
pub fn made_up_name(attempt: usize) -> String {
    let random: [u8; 2] = rand::random();
    let adjective = ADJECTIVES[usize::from(random[0]) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(random[1]) % NOUNS.len()];
    match attempt {
        0..3 => format!("{adjective}_{noun}"),
        _ => format!("{adjective}_{noun}{}", rand::random::<u16>()),
    }
}

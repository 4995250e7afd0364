//! Bytes that are almost what a decoder expects: what all decoders' tests share.
//!
//! Holds: the same inputs every time, all that are one step away from a valid one. `tests/fuzz` goes further.

/// Every beginning of `valid`, every value of each of its bytes, every byte left out or doubled.
pub(crate) fn mutations(valid: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..valid.len()).map(|len| valid[..len].to_vec());
    let changed = (0..valid.len()).flat_map(move |at| {
        (1..=u8::MAX).map(move |by| {
            let mut bytes = valid.to_vec();
            bytes[at] ^= by;
            bytes
        })
    });
    let left_out = (0..valid.len()).map(|at| [&valid[..at], &valid[at + 1..]].concat());
    let doubled = (0..valid.len()).map(|at| [&valid[..=at], &valid[at..]].concat());
    cut.chain(changed).chain(left_out).chain(doubled)
}

//! A replica's sign, which anybody may have written who can write into its `.yeet`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::sources::control::sign::{Sign, socket_name};

/// Each value is a copy, and text that is not UTF-8 gets longer.
const GROWTH: usize = 16;
const ROOM: usize = 4 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some(sign) = fuzz::within(data.len() * GROWTH + ROOM, || Sign::read(data)) else { return };
    assert!(sign.program.is_absolute());
    if let Ok(socket) = &sign.socket {
        assert!(socket.is_absolute());
        assert_eq!(socket.file_name(), Some(socket_name(&sign.replica).as_ref()));
    }
    let text = sign.text().expect("a line holds no line's end");
    assert_eq!(Sign::read(&text), Some(sign));
});

fn seeds() -> Vec<Vec<u8>> {
    let replica = "replica-0123456789abcdef".to_owned();
    let socket = Ok(std::path::Path::new("/run/yeet").join(socket_name(&replica)));
    let sign =
        Sign { replica, daemon: "laptop, pid 7".into(), program: "/a/yeet-1".into(), socket };
    let trouble = Sign { socket: Err("no space".into()), ..sign.clone() };
    [sign, trouble].iter().filter_map(Sign::text).collect()
}

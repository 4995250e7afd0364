//! What comes over the socket is a message, to its last byte, or refused.

use super::*;
use crate::dataflow::model::mutated::mutations;

#[test]
fn a_message_comes_back_as_it_went_in() {
    let request = Request::Explain {
        target: Target::In {
            sync: "s".into(),
            path: RelPath::parse(b"a/\xff\n").expect("a good path"),
        },
    };
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &request).expect("memory takes all");
    let mut from = &bytes[..];
    assert_eq!(read_frame::<Request>(&mut from).expect("a frame"), Some(request));
    assert_eq!(read_frame::<Request>(&mut from).expect("the end"), None);
}

#[test]
fn a_hostile_length_costs_no_memory_and_nonsense_is_refused() {
    assert!(read_frame::<Request>(&mut &[255, 255, 255, 255, 0][..]).is_err());
    assert!(read_frame::<Request>(&mut &[255, 255, 255, 0, 0][..]).is_err());
    assert!(read_frame::<Request>(&mut &[1, 0, 0, 0, 200][..]).is_err());
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let frame = [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat();
    read_frame(&mut &frame[..]).ok()?
}

#[test]
fn whatever_is_almost_a_message_is_one_or_refused() {
    fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
        let valid = postcard::to_stdvec(message).unwrap();
        assert_eq!(read::<T>(&valid).as_ref(), Some(message));
        for bytes in mutations(&valid) {
            let Some(other) = read::<T>(&bytes) else { continue };
            assert_eq!(read::<T>(&postcard::to_stdvec(&other).unwrap()), Some(other));
        }
    }
    let target = Target::In { sync: "s".into(), path: RelPath::parse(b"a/b").unwrap() };
    let which = Which::Paths(vec![target.clone(), Target::Here { dir: b"/d".to_vec() }]);
    check(&Request::Resolve { which, winner: Winner::Both("-x".into()), dry_run: true });
    check(&Request::Log { target, act: None, since_ms: Some(7), limit: Some(9), follow: true });
    let place = Place { host: Some("nas".into()), path: b"/l".to_vec(), take_over: true };
    let leaves = vec![NewLeaf { place, name: Some("l".into()) }];
    check(&Request::AddTo { sync: "s".into(), leaves });
    let replicas = vec![("l".into(), b"/l".to_vec())];
    let (name, state) = ("s".into(), State::Held);
    check(&Reply::Listed(Listed { name, mode: Mode::Mirror, state, replicas }));
    let inside = Target::Inside { sync: Some("s".into()), path: RelPath::parse(b"a/b").unwrap() };
    check(&Request::Displaced { target: inside.clone(), version: Some("1".into()) });
    let winner = Winner::Content(b"new".to_vec());
    check(&Request::Resolve { which: Which::All(inside), winner, dry_run: false });
    check(&Reply::Content { version: "1".into(), mode: 0o640, is_symlink: true });
    check(&Hello { version: VERSION });
}

#[test]
fn a_byte_behind_a_message_is_not_overlooked() {
    let mut body = postcard::to_stdvec(&Request::List).unwrap();
    assert_eq!(read(&body), Some(Request::List));
    body.push(0);
    assert_eq!(read::<Request>(&body), None);
}

#[test]
fn a_list_that_is_cheap_to_send_and_dear_to_hold_is_refused() {
    let bump = |count| {
        let targets = vec![Target::All; count];
        postcard::to_stdvec(&Request::Bump { targets }).unwrap()
    };
    assert!(read::<Request>(&bump(list::MOST)).is_some());
    assert_eq!(read::<Request>(&bump(list::MOST + 1)), None);
}

#[test]
fn the_longest_content_fits_into_a_request() {
    let winner = Winner::Content(vec![0xff; CONTENT_BYTES_MAX]);
    let request = Request::Resolve { which: Which::All(Target::All), winner, dry_run: false };
    assert!(write_frame(&mut io::sink(), &request).is_ok());
}

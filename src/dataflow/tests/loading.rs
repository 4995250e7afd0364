//! Loading: as long as a directory is not listed everywhere, nothing in it looks deleted.

use proptest::prelude::*;

use super::script::{Bench, leaf, path, value};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::path::Name;
use crate::dataflow::model::replica::Replica;

/// A tree of 40 directories with three files each, by directory.
fn tree() -> Vec<(String, Vec<(String, &'static str)>)> {
    let mut dirs = vec![(String::new(), Vec::new())];
    for number in 0..40_usize {
        let parent = if number < 4 { 0 } else { number / 3 };
        let name = format!("d{number}");
        let above = dirs[parent].0.clone();
        dirs[parent].1.push((name.clone(), "dir"));
        let at = if above.is_empty() { name } else { format!("{above}/{name}") };
        let files = (1..4).map(|file| (format!("f{file}"), ["1", "2", "3"][file - 1]));
        dirs.push((at, files.collect()));
    }
    dirs
}

fn listing(replica: Replica, dir: &str, children: &[(String, &str)]) -> Fact {
    let child = |(name, text): &(String, &str)| {
        let name = Name::parse(name.as_bytes()).expect("a name");
        (name, value(text))
    };
    Fact::Listed { replica, dir: path(dir), children: children.iter().map(child).collect() }
}

fn load(slots: &[u8], order: &[(usize, u8)]) {
    let tree = tree();
    let leaves = u8::try_from(slots.len() - 1).expect("few");
    let mut bench = Bench::new(Mode::TwoWay, leaves);
    for slot in 1..=leaves {
        for (dir, children) in &tree {
            for (name, text) in children {
                let at = format!("{dir}/{name}");
                bench.engine.observe(&Fact::Agreed {
                    leaf: leaf(slot),
                    path: path(at.trim_start_matches('/')),
                    value: Some(value(text)),
                });
            }
        }
    }
    for (dir, slot) in order {
        let replica = Replica::try_from(*slot).expect("a slot");
        let (dir, children) = &tree[*dir];
        bench.engine.observe(&listing(replica, dir, children));
        bench.settle();
        assert_eq!(bench.deletes_seen, 0);
        assert!(bench.ready.is_empty(), "{:?}", bench.ready);
    }
    let root = crate::dataflow::model::paths::PathId::ROOT;
    assert!(bench.engine.tallies(root).is_empty());
}

fn all(slots: &[u8]) -> Vec<(usize, u8)> {
    let dirs = 0..tree().len();
    dirs.flat_map(|dir| slots.iter().map(move |slot| (dir, *slot))).collect()
}

proptest! {
    #![proptest_config(super::histories::config(40))]

    #[test]
    fn listings_in_any_order_make_no_delete(order in Just(all(&[0, 1, 2])).prop_shuffle()) {
        load(&[0, 1, 2], &order);
    }

    #[test]
    fn the_source_first_and_then_a_leaf_in_any_order_makes_no_delete(
        leaf_order in Just(all(&[1])).prop_shuffle(),
    ) {
        let mut order = all(&[0]);
        order.extend(leaf_order);
        load(&[0, 1], &order);
    }
}

# All that `.ci/run` wants
check:
    .ci/run

# The fast part of it
quick:
    cargo fmt --check && cargo clippy --all-targets --locked -- -D warnings

# Tests whose name contains FILTER
test FILTER="":
    cargo test --locked {{FILTER}}

# Random histories of facts, others for every SEED
histories SEED:
    PROPTEST_RNG_SEED={{SEED}} cargo test --release --locked --lib dataflow::tests::histories

# Whole simulated histories, those of SEEDS (0..100000)
sim SEEDS:
    YEET_SIM_SEEDS={{SEEDS}} cargo test --release --locked --lib sim::history -- --nocapture

# Licences, advisories, sources of all dependencies
deny:
    cargo deny check

# Accept the snapshots that changed
snap:
    cargo insta review

# The library's pages
doc:
    cargo doc --no-deps --document-private-items --open

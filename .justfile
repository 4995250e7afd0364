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

# Whether the fuzz targets compile, with any compiler and without linking anything
fuzz-check:
    RUSTFLAGS="--cfg fuzzing" CUSTOM_LIBFUZZER_PATH=/dev/null \
        cargo check --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz-check --bins --locked

# Hostile bytes for one decoder, for so many seconds (needs nightly Rust and cargo-fuzz)
fuzz TARGET SECONDS:
    mkdir -p tests/fuzz/corpus/{{TARGET}}
    nice -n 5 cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz {{TARGET}} -- \
        -max_total_time={{SECONDS}} -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -print_final_stats=1

# The same for every decoder in turn
fuzz-all SECONDS:
    for target in $(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do just fuzz $target {{SECONDS}} || exit 1; done

# Licences, advisories, sources of all dependencies
deny:
    cargo deny check

# Accept the snapshots that changed
snap:
    cargo insta review

# The library's pages
doc:
    cargo doc --no-deps --document-private-items --open

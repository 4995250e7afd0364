//! Tests of the engine against plain maps.

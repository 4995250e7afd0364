//! How the command line reaches the daemon: one local socket, one request a connection, a stream of replies.

pub mod wire;

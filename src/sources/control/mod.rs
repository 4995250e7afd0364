//! How the command line reaches the daemon: a local socket, one request a connection, a stream of replies. In a replica that
//! an agent has, the socket is the agent's, and the daemon is on another machine.

pub mod sign;
pub mod socket;
pub mod stream;
pub mod wire;

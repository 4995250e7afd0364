//! Several hosts: a gateway with a private network behind it, on this machine, in network namespaces that end with the test.

use std::process::Command;

use super::server::{Home, Server, has, has_namespaces};

/// Run in namespaces of its own: this end is 10.1.0.1, the gateway 10.1.0.2 and 10.2.0.1, the host behind it 10.2.0.2.
const NETWORK: &str = r#"
set -e
PATH=/usr/sbin:/sbin:/usr/bin:/bin
mount -t tmpfs none /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs none /run/netns; }
ip link set lo up
ip netns add gate
ip netns add inner
ip link add name near0 type veth peer name gate0 netns gate
ip addr add 10.1.0.1/24 dev near0
ip link set near0 up
ip -n gate addr add 10.1.0.2/24 dev gate0
ip -n gate link set gate0 up
ip -n gate link add name gate1 type veth peer name inner0 netns inner
ip -n gate addr add 10.2.0.1/24 dev gate1
ip -n gate link set gate1 up
ip -n inner addr add 10.2.0.2/24 dev inner0
ip -n inner link set inner0 up
# Each server says that it listens by making its pid file.
ip netns exec gate /usr/sbin/sshd -f "$1" -o "PidFile=$1.pid"
ip netns exec inner /usr/sbin/sshd -f "$2" -o "PidFile=$2.pid"
while [ ! -s "$1.pid" ] || [ ! -s "$2.pid" ]; do :; done
servers=$(cat "$1.pid" "$2.pid")
trap 'kill $servers' EXIT
shift 2
PATH=/none
"$@"
"#;

#[test]
fn a_host_in_a_private_network_is_reached_through_its_gateway_and_in_no_other_way() {
    if !has("sshd") || !has("ip") || !has_namespaces() {
        return;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    let (gate, inner) =
        (Server::configure(&home, ""), Server::configure(&home, "AllowTcpForwarding no"));
    home.config(
        "Host *\n IdentityAgent none\n StrictHostKeyChecking accept-new\n ConnectTimeout 20\n\
         Host gate\n HostName 10.1.0.2\nHost nas\n HostName 10.2.0.2\n ProxyJump gate\nHost direct\n HostName 10.2.0.2\n",
    );
    let doctor = |host: &str| {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["-n", "-m", "/bin/sh", "-c", NETWORK, "sh"]).arg(&gate).arg(&inner);
        home.ended(command.args([env!("CARGO_BIN_EXE_yeet"), "doctor", host]))
    };
    let (code, said) = doctor("nas");
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("gate at 10.1.0.2:22 is") && said.contains("nas at 10.2.0.2:22 is"),
        "{said}"
    );
    assert!(said.contains("answer\tok"), "{said}");
    let (code, said) = doctor("direct");
    assert!(
        code == 1 && said.contains("cannot reach direct (10.2.0.2:22): network is unreachable"),
        "{said}"
    );
}

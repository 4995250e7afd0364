//! Whom the files make yeet trust. The keys were made for these tests; the private ones are gone.

use russh::keys::ssh_key::certificate::Certificate;

use super::*;

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILGGA5+VjYhkPdunt3iwzI22FBKhfRMOJWe0HVgwOGRC";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKidhT/w66wKuf529K8lkhRxckXFe1DngMktWY2m44gG";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIZeBjCGUlVKj5kLgN\
     E+/kkzvYQmP5xAKQ9c/JOgHoQ9nOpmc9X0saOnfwncUM+YAEln9yrsAyl3kxWH1hkRMiI=";
const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILY03D0QAhAo0zzDMa6yespBe/Sxb+O0ip9QOf76XsLi";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDtG5ypEQeqMNcyI0WF3RYhEGbFdGaD5VzHDlgjLASj";
/// `A` for nas.lan and 10.0.0.1, from 2020 to 2030, by `CA`.
const FOR_NAS: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIIyug\
     Im8tM0MGdmc+TAJ6n8zQyU67NKDsTMOi668jIQPAAAAILGGA5+VjYhkPdunt3iwzI22FBKhfRMOJWe0HVgwOGRCAAA\
     AAAAAAAAAAAACAAAAA25hcwAAABcAAAAHbmFzLmxhbgAAAAgxMC4wLjAuMQAAAABeC+EAAAAAAHDb2IAAAAAAAAAAA\
     AAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAILY03D0QAhAo0zzDMa6yespBe/Sxb+O0ip9QOf76XsLiAAAAUwAAAAt\
     zc2gtZWQyNTUxOQAAAEAOq3shvkUzfSX5x9IT16+yG1e7Pa1fYuNSvbZHUnTCn4afRjy3RQEbRWzzWgc3J5F05vZ8S\
     P1n3xEY+TzwM5oJ";
/// The same without a name.
const FOR_ANY: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIHBfM\
     X78H1ICq31walgg4RN3oU8WZgVGwKJlmqwa5meVAAAAILGGA5+VjYhkPdunt3iwzI22FBKhfRMOJWe0HVgwOGRCAAA\
     AAAAAAAAAAAACAAAAA25hcwAAAAAAAAAAXgvhAAAAAABw29iAAAAAAAAAAAAAAAAAAAAAMwAAAAtzc2gtZWQyNTUxO\
     QAAACC2NNw9EAIQKNM8wzGusnrKQXv0sW/jtIqfUDn++l7C4gAAAFMAAAALc3NoLWVkMjU1MTkAAABAeCdV3KTT7mC\
     j+HxklR0Ll5p6vGssG4FYEbinRwMv5fbwD3jtVUrDA4ITVUhvR8zaWCIaC/thilSHPKEJ+YGTBQ==";
/// `A` for the user `me`, by `CA`.
const FOR_USER: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIEPzJ\
     K9rzvDphC/FQhMcc6IMdqqz65iCgf0XaJndhigpAAAAILGGA5+VjYhkPdunt3iwzI22FBKhfRMOJWe0HVgwOGRCAAA\
     AAAAAAAAAAAABAAAAAm1lAAAABgAAAAJtZQAAAABeC+EAAAAAAHDb2IAAAAAAAAAAggAAABVwZXJtaXQtWDExLWZvc\
     ndhcmRpbmcAAAAAAAAAF3Blcm1pdC1hZ2VudC1mb3J3YXJkaW5nAAAAAAAAABZwZXJtaXQtcG9ydC1mb3J3YXJkaW5\
     nAAAAAAAAAApwZXJtaXQtcHR5AAAAAAAAAA5wZXJtaXQtdXNlci1yYwAAAAAAAAAAAAAAMwAAAAtzc2gtZWQyNTUxO\
     QAAACC2NNw9EAIQKNM8wzGusnrKQXv0sW/jtIqfUDn++l7C4gAAAFMAAAALc3NoLWVkMjU1MTkAAABALQ4ZSW+w0eX\
     IUd2FAyIKlkkXsGFu81vKZxYsezBZQdM+PFbnnl+0c8j3yuTYxwJiT2ZZRZARlpU8Ge4Nf1/eBw==";
/// `nas.lan`, as `ssh-keygen -H` writes it.
const HASHED: &str = "|1|o3kHAfktOi6dRO/8yWx+KCYSuwY=|AXjIMcNtnUYfb6fIpi+68erku7w=";

/// 2025-01-01.
const NOW_S: u64 = 1_735_689_600;

fn key(text: &str) -> PublicKeyOrCertificate {
    PublicKey::from_openssh(text).unwrap().into()
}

fn certificate(text: &str) -> PublicKeyOrCertificate {
    Certificate::from_openssh(text).unwrap().into()
}

fn files(text: &str) -> Vec<(PathBuf, String)> {
    vec![("empty".into(), String::new()), ("known".into(), text.to_owned())]
}

fn judged(
    text: &str,
    host: &str,
    port: u16,
    shown: &PublicKeyOrCertificate,
) -> Result<Known, String> {
    KnownHosts::new(&files(text), host, port).judge(shown, NOW_S)
}

fn at(line: usize) -> Place {
    Place { file: Path::new("known").into(), line }
}

#[test]
fn a_key_that_stands_there_is_trusted_however_its_host_is_written() {
    for patterns in ["nas.lan", "x,nas.lan", "*.lan", "n?s.lan", "NAS.lan", "!pi.lan,*.lan", HASHED]
    {
        for between in [" ", "\t", "   "] {
            let text = format!("# head\n\n{patterns}{between}{A} comment\n");
            assert_eq!(judged(&text, "nas.lan", 22, &key(A)), Ok(Known::Trusted(at(3))), "{text}");
            assert_eq!(judged(&text, "Nas.LAN", 22, &key(A)), Ok(Known::Trusted(at(3))), "{text}");
        }
    }
    let text = format!("[nas.lan]:2222 {A}\n[*]:2200 {B}");
    assert_eq!(judged(&text, "nas.lan", 2222, &key(A)), Ok(Known::Trusted(at(1))));
    assert_eq!(judged(&text, "pi", 2200, &key(B)), Ok(Known::Trusted(at(2))));
}

#[test]
fn a_key_of_another_host_or_of_a_line_that_cannot_be_read_is_unknown() {
    let cut = &A[..A.len() - 8];
    for line in [
        format!("pi.lan {A}"),
        format!("!nas.lan,* {A}"),
        format!("[nas.lan]:2222 {A}"),
        format!("#nas.lan {A}"),
        format!("@other nas.lan {A}"),
        format!("nas.lan {cut}"),
        format!("|1|c2FsdA==|aGFzaA== {A}"),
        "nas.lan ssh-ed25519".to_owned(),
        "@revoked".to_owned(),
    ] {
        assert_eq!(judged(&line, "nas.lan", 22, &key(A)), Ok(Known::Unknown), "{line}");
    }
}

#[test]
fn another_key_than_the_one_that_stands_there_is_a_changed_one_of_whatever_type() {
    let text = format!("* {A}\n");
    assert_eq!(judged(&text, "nas.lan", 22, &key(B)), Ok(Known::Changed(at(1))));
    assert_eq!(judged(&text, "nas.lan", 22, &key(ECDSA)), Ok(Known::Changed(at(1))));
    let both = format!("nas.lan {A}\nnas.lan {ECDSA}\n");
    assert_eq!(judged(&both, "nas.lan", 22, &key(ECDSA)), Ok(Known::Trusted(at(2))));
    let known = KnownHosts::new(&files(&both), "nas.lan", 22).algorithms();
    assert_eq!(known, [A, ECDSA].map(|k| PublicKey::from_openssh(k).unwrap().algorithm()));
}

#[test]
fn what_is_revoked_is_refused_whatever_else_is_written_and_in_whatever_order() {
    let good = format!("nas.lan {A}\n");
    let bad = format!("@revoked * {A}\n");
    assert_eq!(judged(&format!("{good}{bad}"), "nas.lan", 22, &key(A)), Ok(Known::Revoked(at(2))));
    assert_eq!(judged(&format!("{bad}{good}"), "nas.lan", 22, &key(A)), Ok(Known::Revoked(at(1))));
    let authority = format!("@cert-authority * {CA}\n@revoked * {CA}\n");
    let shown = certificate(FOR_NAS);
    assert_eq!(judged(&authority, "nas.lan", 22, &shown), Ok(Known::Revoked(at(2))));
    let subject = format!("@cert-authority * {CA}\n@revoked * {A}\n");
    assert_eq!(judged(&subject, "nas.lan", 22, &shown), Ok(Known::Revoked(at(2))));
}

#[test]
fn an_authority_vouches_for_the_hosts_and_the_time_of_its_certificate() {
    let text = format!("@cert-authority *.lan,10.* {CA}\n");
    let shown = certificate(FOR_NAS);
    let known = KnownHosts::new(&files(&text), "nas.lan", 22);
    assert!(known.has_authority());
    assert_eq!(known.judge(&shown, NOW_S), Ok(Known::Trusted(at(1))));
    assert_eq!(judged(&text, "10.0.0.1", 22, &shown), Ok(Known::Trusted(at(1))));
    let refused = |host: &str, shown: &PublicKeyOrCertificate, now_s| {
        KnownHosts::new(&files(&text), host, 22).judge(shown, now_s).unwrap_err()
    };
    assert!(refused("pi.lan", &shown, NOW_S).contains("made out to `nas.lan,10.0.0.1`"));
    assert!(refused("nas.lan", &shown, 1_500_000_000).contains("not valid yet"));
    assert!(refused("nas.lan", &shown, 2_000_000_000).contains("out of date"));
    assert!(refused("nas.lan", &certificate(FOR_ANY), NOW_S).contains("made out to ``"));
    assert!(refused("nas.lan", &certificate(FOR_USER), NOW_S).contains("for users"));
}

#[test]
fn an_authority_that_nobody_named_vouches_for_nothing() {
    let shown = certificate(FOR_NAS);
    for text in [String::new(), format!("@cert-authority pi.lan {CA}"), format!("nas.lan {CA}")] {
        let judged = judged(&text, "nas.lan", 22, &shown).unwrap();
        assert!(!matches!(judged, Known::Trusted(_)), "{text}: {judged:?}");
    }
    let text = format!("@cert-authority * {OTHER}\n");
    assert_eq!(judged(&text, "nas.lan", 22, &shown), Ok(Known::Unknown));
    assert_eq!(
        judged(&text, "nas.lan", 22, &key(OTHER)),
        Ok(Known::Unknown),
        "it is no host's key"
    );
}

#[test]
fn the_key_in_a_certificate_may_be_known_by_itself() {
    let text = format!("@cert-authority * {CA}\npi.lan {A}\n");
    assert_eq!(judged(&text, "pi.lan", 22, &certificate(FOR_NAS)), Ok(Known::Trusted(at(2))));
}

#[test]
fn a_forged_certificate_is_refused() {
    let text = format!("@cert-authority * {CA}\n");
    // One bit of the signature, which is at its end.
    let mut bytes = Certificate::from_openssh(FOR_NAS).unwrap().to_bytes().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let shown: PublicKeyOrCertificate = Certificate::from_bytes(&bytes).unwrap().into();
    assert!(judged(&text, "nas.lan", 22, &shown).unwrap_err().contains("forged"));
}

#[test]
fn a_line_that_is_written_is_read_back() {
    let public = PublicKey::from_openssh(A).unwrap();
    for salt in [None, Some([7; 20])] {
        let line = line("[nas.lan]:2222", &public, salt).unwrap();
        assert_eq!(line.contains("nas"), salt.is_none(), "{line}");
        let text = format!("pi {B}");
        let text = format!("{text}{}", appended(&text, &line));
        assert_eq!(judged(&text, "nas.lan", 2222, &key(A)), Ok(Known::Trusted(at(2))), "{text}");
    }
}

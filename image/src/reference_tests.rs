//! Tests of image references.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[track_caller]
fn check(text: &str, canonical: &str, familiar: &str) {
    let reference: Reference = text.parse().unwrap();
    assert_eq!(reference.canonical(), canonical);
    assert_eq!(reference.familiar(), familiar);
}

#[track_caller]
fn check_refused(text: &str, message: &str) {
    let error = text.parse::<Reference>().unwrap_err().to_string();
    assert!(error.contains(message), "{text:?} gave {error:?}");
}

#[test]
fn references_are_normalised_as_docker_does() {
    check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
    check("nginx:alpine", "docker.io/library/nginx:alpine", "nginx:alpine");
    check("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest");
    check("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest");
    check("grafana/grafana", "docker.io/grafana/grafana:latest", "grafana/grafana:latest");
    check("host:5000/x", "host:5000/x:latest", "host:5000/x:latest");
    check("localhost/x:1", "localhost/x:1", "localhost/x:1");
    check("10.0.0.1:5000/a/b/c:v1.2", "10.0.0.1:5000/a/b/c:v1.2", "10.0.0.1:5000/a/b/c:v1.2");
    check("[fd00::1]:5000/x", "[fd00::1]:5000/x:latest", "[fd00::1]:5000/x:latest");
    check("HOST/x", "HOST/x:latest", "HOST/x:latest");
    check("a__b/c.d/e--f", "docker.io/a__b/c.d/e--f:latest", "a__b/c.d/e--f:latest");
    check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
}

#[test]
fn digests_stand_alone_or_beside_a_tag() {
    check(&format!("nginx@{DIGEST}"), &format!("docker.io/library/nginx@{DIGEST}"), &format!("nginx@{DIGEST}"));
    let both: Reference = format!("nginx:1.25@{DIGEST}").parse().unwrap();
    assert_eq!(both.tag(), Some("1.25"));
    assert_eq!(both.digest().unwrap().to_string(), DIGEST);
    assert_eq!(both.without_digest().familiar(), "nginx:1.25");
    assert_eq!(both.only_digest(*both.digest().unwrap()).familiar(), format!("nginx@{DIGEST}"));
}

#[test]
fn malformed_references_are_refused_in_dockers_words() {
    check_refused("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase");
    check_refused("a/Nginx:X", "repository name (a/Nginx) must be lowercase");
    check_refused(&DIGEST[7..], "cannot specify 64-byte hexadecimal strings");
    for text in [
        "",
        ":",
        "nginx:",
        "nginx:-x",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a b",
        "nginx:a:b",
        "a/b@c",
        "nginx@sha256:12",
        "nginx@md5:00",
        "host:port/x",
        "host:99999/x",
        "ho_st.x/x",
        "[fd00::1/x",
        "é",
        "a\0b",
        "../etc",
        "nginx:../../x",
        "-.com/x",
    ] {
        check_refused(text, "invalid reference format");
    }
    check_refused(&format!("a/{}", "b".repeat(300)), "not be more than 255");
    check_refused(&format!("a:{}", "b".repeat(129)), "1 to 128");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_panics_and_what_parses_is_stable(text in "[a-zA-Z0-9./:@_-]{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(&reference.canonical().parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            prop_assert!(reference.tag().is_some() || reference.digest().is_some());
        }
    }

    #[test]
    fn any_text_at_all_is_safe(text in "\\PC{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert!(!reference.path().contains("..") && !reference.path().starts_with('/'));
        }
    }

    #[test]
    fn well_formed_references_are_accepted(
        domain in "[a-z]{1,5}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?/",
        path in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,6}){0,2}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
    ) {
        let text = format!("{domain}{path}{tag}");
        prop_assert!(text.parse::<Reference>().is_ok(), "{}", text);
    }
}

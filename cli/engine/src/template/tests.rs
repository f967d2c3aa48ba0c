//! What docker's client prints for these.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn render(template: &str, data: &Value) -> Result<String, String> {
    compile(template, Data::Object)?.render(data)
}

fn check(template: &str, data: &Value, expected: &str) {
    assert_eq!(render(template, data).unwrap(), expected, "{template}");
}

fn refused(template: &str, data: &Value, expected: &str) {
    assert_eq!(render(template, data).unwrap_err(), format!("template parsing error: {expected}"), "{template}");
}

fn container() -> Value {
    json!({
        "State": {"Status": "running", "Pid": 42, "Running": true},
        "Args": ["a", "b"],
        "Config": {"Labels": {"x.y": "1", "a": "z"}, "Cmd": ["sleep", "1000"], "Entrypoint": null},
        "NetworkSettings": {"Networks": {"web": {"IPAddress": "10.0.0.2"}, "bridge": {"IPAddress": "172.17.0.2"}}},
        "Ports": {"80/tcp": [{"HostPort": "8080"}]},
        "Empty": null,
        "None": [],
    })
}

#[test]
fn renders_what_people_write() {
    let data = container();
    check("{{.State.Status}} {{.State.Pid}}", &data, "running 42");
    check("{{json .Args}}", &data, "[\"a\",\"b\"]");
    check("{{json .State.Running}}", &data, "true");
    check("{{join .Args \",\"}}", &data, "a,b");
    check("{{index .Config.Labels \"x.y\"}}", &data, "1");
    check("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", &data, "172.17.0.2 10.0.0.2 ");
    check("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}", &data, {
        "bridge=172.17.0.2 web=10.0.0.2 "
    });
    check("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", &data, "8080");
    check("{{upper .State.Status}}{{\"\\t\"}}{{title .State.Status}}", &data, "RUNNING\tRunning");
    check("{{if .State.Running}}up{{else}}down{{end}}", &data, "up");
    check("{{pad .State.Status 1 2}}|", &data, " running  |");
    check("{{truncate .State.Status 3}}", &data, "run");
    check("{{.State.Status}}\\t{{len .Args}}", &data, "running\t2");
    check("{{with .State}}{{.Pid}} {{$.State.Status}}{{end}}", &data, "42 running");
    check("{{range .None}}x{{else}}none{{end}}{{range .Args}}{{.}}{{else}}none{{end}}", &data, "noneab");
    check("{{define \"t\"}}<{{.Pid}}>{{end}}{{template \"t\" .State}}", &data, "<42>");
}

#[test]
fn prints_values_as_go_does() {
    let data =
        json!({"m": {"k": null, "a": {"z": ["a", "b"]}}, "l": [[1, true], "x"], "f": 1.5, "n": null, "u": u64::MAX});
    check("{{.m}} {{.l}} {{.f}} {{.u}}", &data, "map[a:map[z:[a b]] k:<nil>] [[1 true] x] 1.5 18446744073709551615");
    check("{{.n}} {{json .n}}", &data, "<nil> null");
    check("{{.Config.Cmd}} {{.Config.Entrypoint}} {{json .Config.Entrypoint}}", &container(), "[sleep 1000] [] null");
}

#[test]
fn a_missing_field_is_refused() {
    let data = container();
    refused("{{.Foo}}", &data, "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
    refused(
        "{{.State.Foo}}",
        &data,
        "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"",
    );
    refused("a\n {{$.Foo}}", &data, "template: :2:4: executing \"\" at <$.Foo>: map has no entry for key \"Foo\"");
    refused("{{json .Foo}}", &data, "template: :1:7: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
    refused(
        "{{.State.Pid.Foo}}",
        &data,
        "template: :1:8: executing \"\" at <.State.Pid.Foo>: can't evaluate field Foo in type int",
    );
    refused(
        "{{.State.Pid 1}}",
        &data,
        "template: :1:8: executing \"\" at <.State.Pid>: Pid is not a method but has arguments",
    );
    refused(
        "{{.Empty.Foo}}",
        &data,
        "template: :1:8: executing \"\" at <.Empty.Foo>: nil pointer evaluating interface {}.Foo",
    );
}

#[test]
fn what_docker_leaves_out_is_not_missing() {
    let data = container();
    check("{{if .State.Health}}yes{{else}}no{{end}}", &data, "no");
    check("{{with .State.Foo}}{{.}}{{else}}no{{end}}", &data, "no");
    check("{{if and .State.Health (eq .State.Health.Status \"healthy\")}}yes{{else}}no{{end}}", &data, "no");
    check("{{.State.Health}} {{json .Config.Healthcheck}}", &data, "<nil> null");
    check("[{{.NodeID}}] {{.Env}} {{json .Env}} {{len .Env}} {{.Slot}}", &data, "[] [] null 0 0");
    check("{{range .Mounts}}{{.Name}}{{end}}{{range .Env}}x{{end}}|", &json!({"Mounts": [{"Destination": "/x"}]}), "|");
    check("{{.Config.Labels.foo}} [{{index .Config.Labels \"foo\"}}]", &data, "<no value> []");
    assert!(render("{{.State.Health.Status}}", &data).is_err());
    assert!(render("{{.NetworkSettings.Networks.foo.IPAddress}}", &data).is_err());
    check("{{.APIVersion}}", &json!({"ApiVersion": "1"}), "1");
}

#[test]
fn functions_are_those_of_go() {
    let data = json!({"a": "x\"y", "n": 5, "l": [1, 2]});
    check("{{printf \"%q\" .a}}", &data, "\"x\\\"y\"");
    check("{{printf \"%5s|%-5s|%05d|%x\" \"ab\" \"cd\" .n 255}}", &data, "   ab|cd   |00005|ff");
    check("{{printf \"%v %v\" .l true}}", &data, "[1 2] true");
    check("{{$x := 5}}{{$x = 6}}{{$x}}", &data, "6");
    check("{{$x := 5}}{{if true}}{{$x = .n}}{{end}}{{$x}}", &data, "5");
    check("{{print \"a\" 1 2 \"b\"}}|{{println .n}}", &data, "a1 2b|5\n");
    check("{{eq .n 5}} {{eq .n 4 5}} {{ne .n 5}} {{lt .n 6}} {{le .n 5}} {{gt .n 5}} {{ge .n 5}}", &data, {
        "true true false true true false true"
    });
    check("{{and 1 0}} {{or 0 2}} {{not 0}}", &data, "0 2 true");
    check("{{html \"<a>\"}} {{\"A\" | lower | printf \"%s!\"}}", &data, "&lt;a&gt; a!");
    check("{{split \"a,b\" \",\"}} {{len (split \"abc\" \"\")}}", &data, "[a b] 3");
    check("{{range $i, $e := .l}}{{if $i}},{{end}}{{$e}}{{end}}", &data, "1,2");
    refused("{{index .l 5}}", &data, "template: error calling index: index out of range: 5");
    assert!(render("{{pad .a 99999999999999 1}}", &data).is_err());
}

#[test]
fn rows_have_a_method() {
    let row = json!({"Name": "web", "Label": {"k": "v"}});
    let render = |text: &str| compile(text, Data::Row).unwrap().render_row(&row);
    assert_eq!(render("{{.Label \"k\"}}[{{.Label \"none\"}}]").unwrap(), "v[]");
    assert_eq!(render("{{json .}}").unwrap(), "{\"Name\":\"web\"}");
    assert_eq!(render("{{\"k\" | .Label}}{{if eq (.Label \"k\") \"v\"}}!{{end}}").unwrap(), "v!");
    assert!(render("{{.Label}}").unwrap_err().ends_with("wrong number of args for Label: want 1 got 0"));
    assert_eq!(
        render("{{.Foo}}").unwrap_err(),
        "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type interface {}"
    );
}

#[test]
fn headers_stay_as_they_are() {
    let render = |text: &str| compile(text, Data::Headers).unwrap().render_headers(&json!({"Name": "NAME"}));
    assert_eq!(render("{{lower .Name}} {{.Label \"com.docker.my-key\"}} {{.Foo}}").unwrap(), "NAME my key <no value>");
    assert_eq!(render("{{join (split .Name \"A\") \"x\"}} {{json .Name}}").unwrap(), "NAME NAME");
}

#[test]
fn says_what_is_wrong() {
    assert!(compile("{{.A", Data::Object).is_err());
    refused("{{nofunction .A}}", &json!({}), "template: :1: function \"nofunction\" not defined");
}

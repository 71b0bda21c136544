package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// containerSettings are what the Containerfile's environment comes to.
func containerSettings(t *testing.T, more ...string) Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	environ := regexp.MustCompile(`HEADWATER_\w+=\S+`).FindAllString(string(text), -1)
	if len(environ) < 5 {
		t.Fatalf("the Containerfile sets %q", environ)
	}
	c, err := Load("", nil, append(environ, more...))
	if err != nil {
		t.Fatalf("the Containerfile: %v", err)
	}
	return c
}

// The image's settings are right, open each port to all, and keep the data on the volume;
// its ports are those that it exposes.
func TestContainerfile(t *testing.T) {
	c := containerSettings(t)
	want := Default()
	want.Data.Dir = "/data"
	want.Kafka.Listen, want.NATS.Listen, want.MQTT.Listen, want.Admin.Listen = ":9092", ":4222", ":1883", ":8080"
	if c.Data != want.Data || c.Kafka != want.Kafka || c.NATS != want.NATS || c.MQTT != want.MQTT || c.Admin != want.Admin {
		t.Errorf("the settings are %+v, want %+v", c, want)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\nEXPOSE 9092 4222 1883 8080\n", "\nVOLUME /data\n", "\nUSER 65532:0\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("there is no line %q", line)
		}
	}
}

// documents reads a YAML file of any number of them.
func documents(t *testing.T, name string) (docs []map[string]any) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "configs", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var doc map[string]any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return docs
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs = append(docs, doc)
	}
}

// at goes down into what YAML has, by names and by places in lists.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok || m[step] == nil {
				t.Fatalf("there is nothing at %v", path[:i+1])
			}
			v = m[step]
		case int:
			l, ok := v.([]any)
			if !ok || len(l) <= step {
				t.Fatalf("there is nothing at %v", path[:i+1])
			}
			v = l[step]
		}
	}
	return v
}

// The compose file forwards each port that the image listens on, from loopback, names
// variables that are settings, and lets nothing but the volume be written.
func TestComposeFile(t *testing.T) {
	docs := documents(t, "compose.yaml")
	service := at(t, docs[0], "services", "headwater")
	var environ []string
	for name, value := range at(t, service, "environment").(map[string]any) {
		environ = append(environ, name+"="+value.(string))
	}
	c := containerSettings(t, environ...)
	var forwarded []string
	for _, port := range at(t, service, "ports").([]any) {
		parts := strings.Split(port.(string), ":")
		if len(parts) != 3 || parts[0] != "127.0.0.1" {
			t.Errorf("%v is not forwarded from loopback", port)
		}
		forwarded = append(forwarded, ":"+parts[len(parts)-1])
	}
	if want := []string{c.Kafka.Listen, c.NATS.Listen, c.MQTT.Listen, c.Admin.Listen}; !slices.Equal(forwarded, want) {
		t.Errorf("forwards %v, want %v", forwarded, want)
	}
	if at(t, service, "read_only") != true || at(t, service, "volumes", 0) != "data:"+c.Data.Dir {
		t.Errorf("read_only %v, volumes %v", at(t, service, "read_only"), at(t, service, "volumes"))
	}
}

// The manifest's variables are settings, its probes ask what there is at the admin port,
// and its volume is where the image keeps data.
func TestKubernetesManifest(t *testing.T) {
	docs := documents(t, "kubernetes.yaml")
	pod := at(t, docs[len(docs)-1], "spec", "template", "spec")
	container := at(t, pod, "containers", 0)
	var environ []string
	for _, v := range at(t, container, "env").([]any) {
		v := v.(map[string]any)
		if value, ok := v["value"].(string); ok {
			environ = append(environ, v["name"].(string)+"="+strings.ReplaceAll(value, "$(NODE_ADDRESS)", "10.0.0.1"))
		}
	}
	c := containerSettings(t, environ...)
	if c.Kafka.Advertise != "10.0.0.1:9092" {
		t.Errorf("clients are told to dial %q", c.Kafka.Advertise)
	}
	ports := map[string]string{}
	for _, p := range at(t, container, "ports").([]any) {
		p := p.(map[string]any)
		ports[p["name"].(string)] = fmt.Sprint(":", p["containerPort"])
	}
	if want := map[string]string{"kafka": c.Kafka.Listen, "nats": c.NATS.Listen, "mqtt": c.MQTT.Listen, "admin": c.Admin.Listen}; !maps.Equal(ports, want) {
		t.Errorf("ports are %v, want %v", ports, want)
	}
	for probe, path := range map[string]string{"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"} {
		if got := at(t, container, probe, "httpGet", "path"); got != path || at(t, container, probe, "httpGet", "port") != "admin" {
			t.Errorf("%s asks %v", probe, got)
		}
	}
	if at(t, container, "volumeMounts", 0, "mountPath") != c.Data.Dir || at(t, container, "securityContext", "readOnlyRootFilesystem") != true {
		t.Errorf("mounts %v", at(t, container, "volumeMounts"))
	}
}

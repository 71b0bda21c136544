package site

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	s, err := Parse([]byte(`
hostname: press-3
network: {interface: eth1, address: 192.168.7.20/24, gateway: 192.168.7.1, dns: [192.168.7.1, 9.9.9.9]}
ntp: [time.example.org, 192.168.7.1]
settings:
  kafka: {listen: 0.0.0.0:9092}
  region.zookeeper: hub:2181
files:
  ca.pem: |
    one
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Network{
		"eth1", false, netip.MustParsePrefix("192.168.7.20/24"), netip.MustParseAddr("192.168.7.1"),
		[]netip.Addr{netip.MustParseAddr("192.168.7.1"), netip.MustParseAddr("9.9.9.9")},
	}
	if s.Hostname != "press-3" || !reflect.DeepEqual(s.Network, want) || len(s.NTP) != 2 || s.Files["ca.pem"] != "one\n" {
		t.Errorf("read %+v", s)
	}
	if !strings.Contains(string(s.Settings), "region.zookeeper: hub:2181") {
		t.Errorf("settings %q", s.Settings)
	}
	for name, want := range map[string]bool{"kafka.listen": true, "kafka.advertise": false, "region.zookeeper": true, "kafka": true, "nats.listen": false} {
		if s.Sets(name) != want {
			t.Errorf("sets %s: %v, want %v", name, !want, want)
		}
	}
}

// Without a file, or with one in which everything is a comment, a box joins by DHCP.
func TestParseNothing(t *testing.T) {
	for _, text := range []string{"", "# hostname: x\n", "settings:\n", "network:\n", "network: {dhcp: true}", "{}"} {
		if s, err := Parse([]byte(text)); err != nil || s.Hostname != "headwater" || !s.Network.DHCP || s.Sets("data.dir") {
			t.Errorf("%q: %+v (%v)", text, s, err)
		}
	}
}

// Each mistake is told, all of them at once.
func TestParseRefuses(t *testing.T) {
	for text, want := range map[string][]string{
		"hostnam: x":                       {"hostnam is not known here"},
		"network: {dhpc: true}":            {"dhpc is not known here"},
		"hostname: a b\nnetwork: {dns: a}": {"cannot unmarshal"},
		"hostname: a_b\nnetwork: {address: 1.2.3.4}\nntp: ['']": {"hostname:", "network.address:", "ntp:"},
		"network: {address: 10.0.0.2/24, dhcp: true}":           {"one of the two"},
		"network: {dhcp: false}":                                {"network.address: is needed"},
		"network: {address: 10.0.0.2/24, gateway: 10.0.1.1}":    {"10.0.1.1 is not in the network"},
		"network: {gateway: 10.0.1.1}":                          {"goes with network.address alone"},
		"network: {interface: a/b, dns: [nine]}":                {"network.interface:", "network.dns:"},
		"settings: [a]":                                         {"settings: holds no settings"},
		"settings: {data.dir: /tmp}":                            {"data.dir is the image's own"},
		"settings: {data: {dir: /tmp}}":                         {"data.dir is the image's own"},
		"files: {../x: y}":                                      {`files: "../x"`},
		"files: {headwater.yaml: y}":                            {"files: headwater.yaml is what"},
		"hostname: [":                                           {"did not find"},
		"a: &a [x,x]\nb: [*a,*a]":                               {"a is not known here", "b is not known here"},
		"ntp: [a,a,a,a,a,a,a,a,a]":                              {"9 servers"},
		"hostname: " + strings.Repeat("x", MaxBytes):            {"larger than"},
		"hostname: " + strings.Repeat("x", 64):                  {"hostname:"},
	} {
		_, err := Parse([]byte(text))
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%.60q: %v", text, err)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%.60q: %q, want %q in it", text, err, part)
			}
		}
	}
}

// Nothing that a file holds brings the box down.
func FuzzParse(f *testing.F) {
	f.Add("hostname: x\nnetwork: {address: 10.0.0.2/24}\nsettings: {a: {b: c}}\nfiles: {a: b}")
	f.Add("settings: &a {b: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse([]byte(text))
		if err == nil && s.Network.DHCP == s.Network.Address.IsValid() {
			t.Errorf("%q joins by %+v", text, s.Network)
		}
	})
}

// The site file that configs has for a bench opens what devices and clients need.
func TestBench(t *testing.T) {
	text, err := os.ReadFile("../../../configs/site.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(text)
	if err != nil || !s.Sets("kafka.listen") || !s.Sets("nats.listen") || !s.Sets("mqtt.listen") {
		t.Errorf("it says %+v (%v)", s, err)
	}
}

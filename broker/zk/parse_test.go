package zk

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseConnect(t *testing.T) {
	for connect, want := range map[string]struct {
		servers string // with spaces between; "": refused
		chroot  string
	}{
		"a":                             {"a:2181", ""},
		"a:1,b:2":                       {"a:1 b:2", ""},
		" a:1 , b/kafka":                {"a:1 b:2181", "/kafka"},
		"a/":                            {"a:2181", ""},
		"a/x/y/":                        {"a:2181", "/x/y"},
		"10.0.0.1,[fe80::1],[::2]:99/k": {"10.0.0.1:2181 [fe80::1]:2181 [::2]:99", "/k"},
		"":                              {},
		"/kafka":                        {},
		"a,,b":                          {},
		"a:0":                           {},
		"a:port":                        {},
		"a:65536":                       {},
		"fe80::1":                       {},
		"a//x":                          {},
		"a/../x":                        {},
		":2181":                         {},
	} {
		servers, chroot, err := ParseConnect(connect)
		if want.servers == "" {
			if err == nil {
				t.Errorf("%q is taken for %q", connect, servers)
			}
			continue
		}
		if err != nil || !slices.Equal(servers, strings.Fields(want.servers)) || chroot != want.chroot {
			t.Errorf("%q: %q %q, %v; want %+v", connect, servers, chroot, err, want)
		}
	}
}

// All that is wrong is said at once.
func TestValidate(t *testing.T) {
	err := Config{Connect: "a:x", SessionTimeout: time.Millisecond, ConnectTimeout: -1, SetACL: true}.Validate()
	for _, words := range []string{"port", "session timeout", "connect timeout", "ACLs"} {
		contains(t, err, words)
	}
	contains(t, Config{Connect: "a", SessionTimeout: time.Second, Digest: "user"}.Validate(), "digest")
	cfg := DefaultConfig()
	cfg.Connect = "a"
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// Servers come in turn; a round is over when all were tried since one served.
func TestHosts(t *testing.T) {
	h := &hosts{servers: []string{"a", "b", "c"}, at: -1, round: -1}
	for i, want := range []struct {
		server string
		over   bool
	}{{"a", false}, {"b", false}, {"c", false}, {"a", true}, {"b", false}} {
		if server, over := h.Next(); server != want.server || over != want.over {
			t.Errorf("turn %d: %s, %v; want %s, %v", i, server, over, want.server, want.over)
		}
	}
	h.Connected() // b
	for i, want := range []struct {
		server string
		over   bool
	}{{"c", false}, {"a", false}, {"b", true}} {
		if server, over := h.Next(); server != want.server || over != want.over {
			t.Errorf("turn %d after b served: %s, %v; want %s, %v", i, server, over, want.server, want.over)
		}
	}
	one := newHosts([]string{"a"})
	if _, over := one.Next(); over {
		t.Error("the only server is tried late at first")
	}
	if _, over := one.Next(); !over {
		t.Error("the only server is tried without a pause")
	}
}

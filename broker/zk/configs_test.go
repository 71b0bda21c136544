package zk

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

func TestEntities(t *testing.T) {
	for want, e := range map[string]Entity{
		"topics/t":                              TopicEntity("t"),
		"brokers/7":                             BrokerEntity(7),
		"brokers/<default>":                     BrokerDefaults,
		"clients/a%20b%2Ac%7E-_.":               QuotaEntity("", "a b*c~-_."),
		"users/CN%3Dx%2CO%3Dy":                  QuotaEntity("CN=x,O=y", ""),
		"users/<default>":                       QuotaEntity(DefaultName, ""),
		"users/u%2F%2B/clients/<default>":       QuotaEntity("u/+", DefaultName),
		"users/%C3%A4/clients/%3Cdefault%3E%3F": QuotaEntity("ä", "<default>?"),
	} {
		if string(e) != want {
			t.Errorf("entity %q, want %q", e, want)
		}
		if err := e.valid(); err != nil {
			t.Error(err)
		}
		if user, client, ok := e.Quota(); ok && QuotaEntity(user, client) != e {
			t.Errorf("%q: user %q, client %q", e, user, client)
		}
	}
	if name, ok := TopicEntity("t").Topic(); name != "t" || !ok {
		t.Errorf("topic %q, %v", name, ok)
	}
	if id, ok := BrokerEntity(7).Broker(); id != 7 || !ok {
		t.Errorf("broker %d, %v", id, ok)
	}
	if id, ok := BrokerDefaults.Broker(); id != -1 || !ok {
		t.Errorf("broker %d, %v, want -1 for all", id, ok)
	}
	for _, e := range []Entity{"", "topics", "topics/", "topics/..", "a/b/c", "a/b/c/d/e"} {
		wantError(t, e.valid(), ErrInvalidName)
	}
}

func TestConfigJSON(t *testing.T) {
	if got, want := string(encodeConfig(map[string]string{"b": "<2>", "a": "1"})), `{"version":1,"config":{"a":"1","b":"<2>"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(encodeConfig(nil)), `{"version":1,"config":{}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for text, want := range map[string]map[string]string{
		``:                                 {},
		`{"version":1,"config":{"a":"1"}}`: {"a": "1"},
		`{"config":{"a":12345678901},"version":1}`: {"a": "12345678901"},
	} {
		got, err := decodeConfig("/config", []byte(text))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	_, err := decodeConfig("/config", []byte(`{"config":[]}`))
	wantError(t, err, ErrMalformed)
}

func TestConfigChangeJSON(t *testing.T) {
	for text, want := range map[string]Entity{
		`{"version":2,"entity_path":"topics/t"}`:                  "topics/t",
		`{"version":2,"entity_path":"users/a/clients/<default>"}`: "users/a/clients/<default>",
		`{"version":1,"entity_type":"clients","entity_name":"c"}`: "clients/c",
		`{"version":2,"entity_path":"../../controller"}`:          "",
		`{"version":2}`: "",
	} {
		got, err := decodeConfigChange("/config/changes/x", []byte(text))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

// Settings are written over the version that is known, and every broker is told once
// of each.
func testConfigs(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	w, changed := NewWatch()
	got, last, err := s.ConfigChanges(t.Context(), "", w)
	if len(got) != 0 || err != nil {
		t.Fatal(got, err)
	}
	config, version, err := s.Config(t.Context(), TopicEntity("t"), nil)
	if len(config) != 0 || version != NoVersion || err != nil {
		t.Errorf("settings %v, version %d, %v where there are none", config, version, err)
	}
	if err := s.SetConfig(t.Context(), TopicEntity("t"), map[string]string{"a": "1"}, NoVersion); err != nil {
		t.Fatal(err)
	}
	receive(t, changed, "the news of settings")
	wantError(t, s.SetConfig(t.Context(), TopicEntity("t"), nil, NoVersion), cluster.ErrVersion)
	wantError(t, s.SetConfig(t.Context(), TopicEntity("t"), nil, 7), cluster.ErrVersion)
	config, version, err = s.Config(t.Context(), TopicEntity("t"), nil)
	if config["a"] != "1" || version != 0 || err != nil {
		t.Errorf("settings %v, version %d, %v", config, version, err)
	}
	for e, v := range map[Entity]int32{TopicEntity("t"): version, BrokerDefaults: AnyVersion, QuotaEntity("u", "c"): AnyVersion, QuotaEntity("", "c"): AnyVersion} {
		if err := s.SetConfig(t.Context(), e, map[string]string{"b": "2"}, v); err != nil {
			t.Fatal(err)
		}
	}
	got, last, err = s.ConfigChanges(t.Context(), last, w)
	slices.Sort(got)
	if want := []Entity{"brokers/<default>", "clients/c", "topics/t", "users/u/clients/c"}; !slices.Equal(got, want) || err != nil {
		t.Errorf("changes %q, %v; want %q", got, err, want)
	}
	if again, _, err := s.ConfigChanges(t.Context(), last, w); len(again) != 0 || err != nil {
		t.Errorf("changes %q, %v twice", again, err)
	}
	wantNode(t, s, "/config/changes/"+last, `{"version":2,"entity_path":"`+lastEntity(t, s, last)+`"}`)
	if got := must[[]Entity](t)(s.Entities(t.Context(), "users")); !slices.Equal(got, []Entity{"users/u", "users/u/clients/c"}) {
		t.Errorf("users %q", got)
	}

	if err := s.PurgeConfigChanges(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if names := must[[]string](t)(s.children(t.Context(), configChangesPath, nil)); len(names) != 5 {
		t.Errorf("%d changes after those older than an hour were purged, want 5", len(names))
	}
	if err := s.PurgeConfigChanges(t.Context(), -time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if names := must[[]string](t)(s.children(t.Context(), configChangesPath, nil)); len(names) != 0 {
		t.Errorf("%d changes are left", len(names))
	}
}

func lastEntity(t *testing.T, s *Session, name string) string {
	t.Helper()
	n := must[node](t)(s.get(t.Context(), configChangesPath+"/"+name, nil))
	return string(must[Entity](t)(decodeConfigChange(name, n.data)))
}

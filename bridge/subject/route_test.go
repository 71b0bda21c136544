package subject

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/topic"
)

func compileAll(t testing.TB, rules ...Rule) *Table {
	t.Helper()
	table, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRoute(t *testing.T) {
	table := compileAll(t,
		Rule{Subject: "telemetry.*.alarm", Topic: "alarms", Key: "{2}"},
		Rule{Subject: "telemetry.>", Topic: "telemetry", Key: "{2}"},
		Rule{Subject: "plant.*.>", Topic: "plant-{2}", Key: "{3}/{4}", Partition: ByKey},
		Rule{Subject: "bare", Topic: "bare"},
	)
	for name, tc := range map[string]struct {
		subject, topic, key string
		rule                int
		err                 error
	}{
		"first match wins":    {"telemetry.d1.alarm", "alarms", "d1", 0, nil},
		"the next rule":       {"telemetry.d1.temp", "telemetry", "d1", 1, nil},
		"> is one at least":   {"telemetry", "", "", -1, ErrNoRule},
		"template in a topic": {"plant.7.press.temp.max", "plant-7", "press/temp", 2, nil},
		"token not there":     {"plant.7.press", "", "", 2, ErrUnroutable},
		"token no topic":      {"plant.a b.press.temp", "", "", 2, ErrUnroutable},
		"topic too long":      {"plant." + strings.Repeat("x", 250) + ".a.b", "", "", 2, ErrUnroutable},
		"no key":              {"bare", "bare", "", 3, nil},
		"no wildcard":         {"bare.x", "", "", -1, ErrNoRule},
		"empty token":         {"telemetry..temp", "", "", 1, ErrUnroutable},
		"empty last token":    {"telemetry.", "", "", 1, ErrUnroutable},
		"empty":               {"", "", "", -1, ErrNoRule},
	} {
		t.Run(name, func(t *testing.T) {
			var r Route
			err := table.Route([]byte(tc.subject), &r)
			if !errors.Is(err, tc.err) || r.Rule != tc.rule {
				t.Fatalf("rule %d, %v; want rule %d, %v", r.Rule, err, tc.rule, tc.err)
			}
			if err == nil && (string(r.Topic) != tc.topic || string(r.Key) != tc.key) {
				t.Errorf("topic %q key %q, want %q and %q", r.Topic, r.Key, tc.topic, tc.key)
			}
		})
	}
}

// What NATS keeps for itself, and answers to requests, are never data.
func TestRouteLeavesReservedSubjectsAlone(t *testing.T) {
	table := compileAll(t, Rule{Subject: ">", Topic: "all"})
	for subject, want := range map[string]error{
		"$SYS.x": ErrNoRule, "$JS.API.INFO": ErrNoRule, "_INBOX.a.b": ErrNoRule,
		"_INBOX": nil, "a.$SYS": nil, "a._INBOX.b": nil,
	} {
		var r Route
		if err := table.Route([]byte(subject), &r); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", subject, err, want)
		}
	}
}

// A route that is used again keeps nothing of the subject before.
func TestRouteIsReused(t *testing.T) {
	table := compileAll(t,
		Rule{Subject: "k.*", Topic: "long-topic-{2}", Key: "key-{2}", Partition: ByKey},
		Rule{Subject: "n.*", Topic: "t"},
	)
	var r Route
	if err := table.Route([]byte("k.abc"), &r); err != nil || string(r.Topic) != "long-topic-abc" || string(r.Key) != "key-abc" {
		t.Fatalf("topic %q key %q: %v", r.Topic, r.Key, err)
	}
	if err := table.Route([]byte("n.x"), &r); err != nil || string(r.Topic) != "t" || r.Key != nil || partitionOf(t, &r, 10) != 0 {
		t.Errorf("topic %q key %q partition %d: %v; want t, null, 0", r.Topic, r.Key, partitionOf(t, &r, 10), err)
	}
	if err := table.Route([]byte("k.x"), &r); err != nil || string(r.Key) != "key-x" || partitionOf(t, &r, 10) != Partition([]byte("key-x"), 10) {
		t.Errorf("key %q partition %d: %v", r.Key, partitionOf(t, &r, 10), err)
	}
	if err := table.Route([]byte("$"), &r); err == nil || r.Rule != -1 || len(r.Topic) != 0 || r.Key != nil {
		t.Errorf("after no match the route still says rule %d topic %q key %q", r.Rule, r.Topic, r.Key)
	}
}

func partitionOf(t *testing.T, r *Route, n int32) int32 {
	t.Helper()
	index, ok := r.Partition(topic.Partitions{Count: n})
	if !ok {
		t.Errorf("no partition of %d", n)
	}
	return index
}

// What braces stand for, in keys and in headers.
func TestRouteTemplates(t *testing.T) {
	for _, tc := range []struct{ pattern, template, subject, want string }{
		{"a.*.>", "{2}", "a.b.c.d", "b"},
		{"a.*.>", "{>}", "a.b.c.d", "c.d"},
		{"a.*.>", "{>}", "a.b.c", "c"},
		{">", "{>}", "a.b.c", "a.b.c"},
		{"a.*", "{subject}", "a.b", "a.b"},
		{"a.*", "x{1}y{2}z", "a.b", "xaybz"},
		{"a.*", "{{{2}}}", "a.b", "{b}"},
		{"a.*", "}}{{", "a.b", "}{"},
		{"a.*", "{{2}}", "a.b", "{2}"},
		{"a", "{1}{1}", "a", "aa"},
	} {
		table := compileAll(t, Rule{Subject: tc.pattern, Topic: "t", Key: tc.template, Headers: []HeaderRule{{"H", tc.template}, {"Second", "2"}}})
		var r Route
		if err := table.Route([]byte(tc.subject), &r); err != nil || string(r.Key) != tc.want {
			t.Errorf("%s of %s by %s: %q (%v), want %q", tc.template, tc.subject, tc.pattern, r.Key, err, tc.want)
		}
		if len(r.Headers) != 2 || r.Headers[0].Name != "H" || string(r.Headers[0].Value) != tc.want || string(r.Headers[1].Value) != "2" {
			t.Errorf("%s of %s: headers %q, want H: %s and Second: 2", tc.template, tc.subject, r.Headers, tc.want)
		}
	}
}

// A header's token that the subject has not makes it unroutable, as a key's does.
func TestRouteWithoutHeadersToken(t *testing.T) {
	table := compileAll(t, Rule{Subject: "a.>", Topic: "t", Headers: []HeaderRule{{"Unit", "{3}"}}})
	var r Route
	if err := table.Route([]byte("a.b"), &r); !errors.Is(err, ErrUnroutable) || r.Rule != 0 {
		t.Errorf("rule %d, %v; want 0, %v", r.Rule, err, ErrUnroutable)
	}
	if err := table.Route([]byte("a.b.C"), &r); err != nil || !r.Names("uNIT") || r.Names("Un") {
		t.Errorf("%v; the rule names uNIT: %v, Un: %v", err, r.Names("uNIT"), r.Names("Un"))
	}
	if err := table.Route([]byte("b"), &r); err == nil || len(r.Headers) != 0 || r.Names("Unit") {
		t.Errorf("after no match (%v) the route still has %v", err, r.Headers)
	}
}

func TestRouteToFixedPartition(t *testing.T) {
	table := compileAll(t, Rule{Subject: "a", Topic: "t", Partition: "3"})
	var r Route
	if err := table.Route([]byte("a"), &r); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int32]bool{1: false, 3: false, 4: true, 10: true} {
		if index, ok := r.Partition(topic.Partitions{Count: n}); index != 3 || ok != want {
			t.Errorf("of %d: partition %d, %v; want 3, %v", n, index, ok, want)
		}
	}
}

func TestSettings(t *testing.T) {
	table := compileAll(t, Rule{Subject: "a", Topic: "t"}, Rule{Subject: "b", Topic: "t", Linger: time.Second, Compression: "lz4", MaxMessageBytes: 7})
	if got := table.Settings(0); got != (Settings{}) {
		t.Errorf("a rule that says nothing: %+v", got)
	}
	if got, want := table.Settings(1), (Settings{time.Second, "lz4", 7}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRouteAllocatesNothing(t *testing.T) {
	for name, rules := range map[string][]Rule{
		"default": DefaultRules(),
		"headers": {{Subject: "telemetry.>", Topic: "t", Key: "{>}", Headers: []HeaderRule{{"A", "{2}"}, {"B", "x-{subject}"}}}},
	} {
		table := compileAll(t, rules...)
		var r Route
		subject := []byte("telemetry.press3.temp")
		table.Route(subject, &r) // makes room
		if n := testing.AllocsPerRun(100, func() { table.Route(subject, &r) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	for name, rules := range map[string][]Rule{
		"default": DefaultRules(),
		"headers": {{Subject: "telemetry.>", Topic: "t", Key: "{2}", Headers: []HeaderRule{{"Device", "{2}"}, {"Quantity", "{3}"}}}},
	} {
		b.Run(name, func(b *testing.B) {
			table := compileAll(b, rules...)
			var r Route
			subject := []byte("telemetry.press3.temp")
			b.ReportAllocs()
			for b.Loop() {
				table.Route(subject, &r)
			}
		})
	}
}

// The values are those that Kafka's own tests of its hash hold.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// toPositive clears the sign, it does not negate: -973932308 becomes 1173551340.
func TestPartition(t *testing.T) {
	for n, want := range map[int32]int32{1: 0, 7: 1173551340 % 7, 1000: 340} {
		if got := Partition([]byte("21"), n); got != want {
			t.Errorf("of %d: partition %d, want %d", n, got, want)
		}
	}
}

// Whatever the template, it is refused or expands without a panic; one whose braces
// are all doubled stands for itself.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"", "{1}", "{>}{subject}", "{{}}", "{", "}", "{{{1}", "a{2}b", "{2048}", "{-1}", "{\xff}"} {
		f.Add(s, "a.b.c")
		f.Add(s, "..")
	}
	p, err := parsePattern("a.*.>")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s, subject string) {
		doubled := strings.NewReplacer("{", "{{", "}", "}}").Replace(s)
		if tmpl, err := parseTemplate(doubled); err == nil {
			if got := string(tmpl.expand(nil, []byte(subject), nil)); got != s || !tmpl.fixed() {
				t.Fatalf("%q became %q, want %q", doubled, got, s)
			}
		} else if len(doubled) <= maxTemplateLen {
			t.Fatalf("%q: %v", doubled, err)
		}
		tmpl, err := parseTemplate(s)
		if err != nil || tmpl.fit(p) != nil {
			return
		}
		tokens := split(nil, []byte(subject))
		if tmpl.tokens() > len(tokens) {
			return
		}
		got := tmpl.expand(nil, []byte(subject), tokens)
		if limit := len(s) + maxTemplateParts*len(subject); len(got) > limit {
			t.Fatalf("%q of %q: %d bytes, want %d at most", s, subject, len(got), limit)
		}
		if tmpl.fixed() && strings.Count(s, "{") == 0 && strings.Count(s, "}") == 0 && string(got) != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

// Whatever the subject, Route does not panic; a route without an error has a
// valid topic and a partition that exists, and the rule is the first that
// matches.
func FuzzRoute(f *testing.F) {
	table := compileAll(f,
		Rule{Subject: "a.*.b", Topic: "ab-{2}", Key: "{2}", Partition: ByKey},
		Rule{Subject: "a.>", Topic: "a", Key: "{2}", Partition: "7", Headers: []HeaderRule{{"Rest", "{>}"}, {"All", "{subject}"}}},
		Rule{Subject: "*.*", Topic: "{1}_{2}", Key: "x{1}"},
		Rule{Subject: ">", Topic: "{3}", Key: "{1}"},
	)
	for _, s := range []string{"a.x.b", "a.b", "x.y", "", ".", "..", "$SYS", "_INBOX.x", "a.b.c.d", "a.\xff.b", "a. .b"} {
		f.Add([]byte(s))
	}
	var again Route
	f.Fuzz(func(t *testing.T, subject []byte) {
		var r Route
		err := table.Route(subject, &r)
		err2 := table.Route(subject, &again)
		if (err == nil) != (err2 == nil) || r.Rule != again.Rule || !bytes.Equal(r.Topic, again.Topic) || !bytes.Equal(r.Key, again.Key) ||
			!slices.EqualFunc(r.Headers, again.Headers, func(a, b Header) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }) {
			t.Fatalf("%q: a fresh route says %d %q %q %v, one used again %d %q %q %v",
				subject, r.Rule, r.Topic, r.Key, err, again.Rule, again.Topic, again.Key, err2)
		}
		if reserved(subject) && !errors.Is(err, ErrNoRule) {
			t.Fatalf("%q was taken: %v", subject, err)
		}
		if err != nil {
			return
		}
		if p, ok := r.Partition(topic.Partitions{Count: 3}); p < 0 || ok != (p <= 2) {
			t.Fatalf("%q: partition %d of 3, %v", subject, p, ok)
		}
		if err := validTopic(string(r.Topic)); err != nil {
			t.Fatalf("%q: %v", subject, err)
		}
		for i := range r.Rule {
			if table.rules[i].pattern.matches(subject, split(nil, subject)) {
				t.Fatalf("%q: rule %d, but rule %d matches before it", subject, r.Rule, i)
			}
		}
	})
}

// A box that is at home in one partition of several writes to that one alone.
func TestRouteAtHome(t *testing.T) {
	table := compileAll(t, Rule{Subject: "home", Topic: "t"}, Rule{Subject: "key.*", Topic: "t", Key: "{2}", Partition: ByKey},
		Rule{Subject: "two", Topic: "t", Partition: "2"}, Rule{Subject: "three", Topic: "t", Partition: "3"})
	of := topic.Partitions{Count: 5, Home: 2, HomeOnly: true}
	for subject, want := range map[string]bool{"home": true, "key.a": true, "key.b": true, "key.c": true, "two": true, "three": false} {
		var r Route
		if err := table.Route([]byte(subject), &r); err != nil {
			t.Fatal(err)
		}
		if index, ok := r.Partition(of); ok != want || ok && index != 2 {
			t.Errorf("%s: partition %d, %v; want 2, %v", subject, index, ok, want)
		}
	}
	of.HomeOnly = false
	var r Route
	if err := table.Route([]byte("home"), &r); err != nil {
		t.Fatal(err)
	}
	if index, ok := r.Partition(of); index != 2 || !ok {
		t.Errorf("home of several: partition %d, %v", index, ok)
	}
}

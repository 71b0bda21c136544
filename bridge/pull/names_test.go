package pull

import (
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/record"
)

func TestStreamNames(t *testing.T) {
	for _, tc := range []struct {
		topic     string
		partition int32
		name      string
	}{
		{"press", 0, "press-0"},
		{"plant7.press-3", 12, "plant7~press-3-12"},
		{"a..b", 1, "a~~b-1"},
	} {
		if got := streamName(tc.topic, tc.partition); got != tc.name {
			t.Errorf("%s %d: %q, want %q", tc.topic, tc.partition, got, tc.name)
		}
		if topic, partition, ok := parseStream(tc.name); !ok || topic != tc.topic || partition != tc.partition {
			t.Errorf("%q: %q %d %v", tc.name, topic, partition, ok)
		}
	}
	for _, name := range []string{"", "press", "press-", "-0", "press-01", "press-+1", "press-2147483648", "pr.ess-0", "pr ess-0", "~-0"} {
		if topic, partition, ok := parseStream(name); ok {
			t.Errorf("%q is taken for partition %d of %q", name, partition, topic)
		}
	}
}

func TestSubjectOfRecord(t *testing.T) {
	from := func(subject string) []record.Header {
		return []record.Header{{Key: "unit", Value: []byte("x.y")}, {Key: headerSubject, Value: []byte(subject)}}
	}
	for name, tc := range map[string]struct {
		topic    string
		key      []byte
		headers  []record.Header
		want     string
		keyShown bool
	}{
		"device":        {"telemetry", []byte("p7"), from("plant.p7.temp"), "plant.p7.temp", false},
		"key":           {"telemetry", []byte("Press_3-a"), nil, "telemetry.Press_3-a", true},
		"nullKey":       {"telemetry", nil, nil, "telemetry", false},
		"emptyKey":      {"telemetry", []byte{}, nil, "telemetry", false},
		"keyOfTokens":   {"telemetry", []byte("a.b"), nil, "telemetry", false},
		"keyOfBytes":    {"telemetry", []byte{'a', 0}, nil, "telemetry", false},
		"wildKey":       {"telemetry", []byte("*"), nil, "telemetry", false},
		"longKey":       {"telemetry", []byte(strings.Repeat("k", maxSubjectLen)), nil, "telemetry", false},
		"dottedTopic":   {"plant.press", []byte("k"), nil, "plant.press.k", true},
		"emptyTokens":   {"plant..press", []byte("k"), nil, "plant~~press.k", true},
		"forgedWild":    {"telemetry", nil, from("a.>"), "telemetry", false},
		"forgedLine":    {"telemetry", nil, from("a\r\nPUB b 0"), "telemetry", false},
		"forgedSpace":   {"telemetry", nil, from("a b"), "telemetry", false},
		"forgedEmpty":   {"telemetry", nil, from(""), "telemetry", false},
		"forgedTokens":  {"telemetry", nil, from("a..b"), "telemetry", false},
		"forgedEnd":     {"telemetry", nil, from("a."), "telemetry", false},
		"forgedBytes":   {"telemetry", nil, from("a\xff"), "telemetry", false},
		"forgedTooLong": {"telemetry", nil, from(strings.Repeat("x", maxSubjectLen+1)), "telemetry", false},
	} {
		got, keyShown := appendSubject([]byte("+"), tc.topic, &record.Record{Key: tc.key, Headers: tc.headers})
		if string(got) != "+"+tc.want || keyShown != tc.keyShown {
			t.Errorf("%s: %q, key shown %v; want %q, %v", name, got, keyShown, tc.want, tc.keyShown)
		}
	}
}

// What a header block says of a record is what the record says, and nothing that
// clients would take for the server's word.
func TestHeadersOfRecord(t *testing.T) {
	header := func(pairs ...string) (all []record.Header) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, record.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return all
	}
	for name, tc := range map[string]struct {
		record   record.Record
		keyShown bool
		want     string
	}{
		"none":           {record.Record{Value: []byte("v")}, false, ""},
		"keyShown":       {record.Record{Key: []byte("k")}, true, ""},
		"key":            {record.Record{Key: []byte("a.b")}, false, "hw-key: a.b\r\n"},
		"emptyKey":       {record.Record{Key: []byte{}}, false, "hw-key: \r\n"},
		"keyOfBytes":     {record.Record{Key: []byte{1, 2}}, false, ""},
		"ordinary":       {record.Record{Headers: header("unit", "bar", "unit", "mbar", "hw-time", "5", "Nats-Msg-Id", "7")}, false, "unit: bar\r\nunit: mbar\r\nhw-time: 5\r\nNats-Msg-Id: 7\r\n"},
		"null":           {record.Record{Headers: []record.Header{{Key: "none"}}}, false, "none: \r\n"},
		"unfitName":      {record.Record{Headers: header("", "1", "a b", "2", "a:b", "3", "ä", "4", "ok", "5")}, false, "ok: 5\r\n"},
		"unfitValue":     {record.Record{Headers: header("a", "1\r\nNats-Stream: x", "b", "\x00", "c", "a\tb")}, false, "c: a\tb\r\n"},
		"place":          {record.Record{Headers: header("Nats-Stream", "x", "nats-sequence", "1", "NATS-TIME-STAMP", "x", "Nats-Subject", "x", "Nats-Num-Pending", "1", "Nats-Last-Sequence", "1", "Nats-UpTo-Sequence", "1")}, false, ""},
		"forgedKey":      {record.Record{Key: []byte("a.b"), Headers: header("HW-Key", "c")}, false, "hw-key: a.b\r\n"},
		"status":         {record.Record{Headers: header("Status", "404", "description", "gone")}, false, ""},
		"statusOfSome":   {record.Record{Value: []byte("v"), Headers: header("Status", "404")}, false, "Status: 404\r\n"},
		"statusTooShort": {record.Record{Headers: header("Nats", "1")}, false, "Nats: 1\r\n"},
	} {
		want := ""
		if tc.want != "" {
			want = "NATS/1.0\r\n" + tc.want + "\r\n"
		}
		if got := string(appendHeaders(nil, &tc.record, tc.keyShown)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	for timestamp, want := range map[int64]string{
		1_700_000_000_123: "2023-11-14T22:13:20.123Z",
		-1:                "1970-01-01T00:00:00Z",
		maxTimestamp:      "9999-12-31T23:59:59.999Z",
		maxTimestamp + 1:  "1970-01-01T00:00:00Z",
	} {
		text, err := timeOf(timestamp).MarshalText()
		if err != nil || string(text) != want {
			t.Errorf("%d: %q and error %v, want %q", timestamp, text, err, want)
		}
	}
}

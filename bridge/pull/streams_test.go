package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed is an answer with a list of streams, by their names or in full.
type listed[T any] struct {
	failed
	page
	Streams []T               `json:"streams"`
	Offline map[string]string `json:"offline"`
}

// fleet is as many topics of two partitions each.
func fleet(topics int) (logs []*fakeLog) {
	for i := range topics {
		for partition := range int32(2) {
			logs = append(logs, &fakeLog{topic: fmt.Sprintf("topic.%04d", i), partition: partition})
		}
	}
	return logs
}

// Every stream is listed, in pages that clients put together by counting.
func TestStreamsAreListed(t *testing.T) {
	s := serve(t, Config{}, fleet(600)...)
	var names, inFull []string
	for offset, total := 0, 1; offset < total; {
		got := askFor[listed[string]](t, s, "stream_names_response", "$JS.API.STREAM.NAMES", fmt.Sprintf(`{"offset":%d}`, offset))
		if got.Total != 1200 || got.Offset != offset || got.Limit != namesPerPage || len(got.Streams) == 0 || len(got.Streams) > namesPerPage {
			t.Fatalf("page %+v with %d streams", got.page, len(got.Streams))
		}
		names, total, offset = append(names, got.Streams...), got.Total, offset+len(got.Streams)
	}
	for offset, total := 0, 1; offset < total; {
		got := askFor[listed[streamInfo]](t, s, "stream_list_response", "$JS.API.STREAM.LIST", fmt.Sprintf(`{"offset":%d}`, offset))
		if got.Total != 1200 || got.Offset != offset || got.Limit != streamsPerPage || len(got.Streams) == 0 || len(got.Streams) > streamsPerPage {
			t.Fatalf("page %+v with %d streams", got.page, len(got.Streams))
		}
		for _, info := range got.Streams {
			inFull = append(inFull, info.Config.Name)
		}
		total, offset = got.Total, offset+len(got.Streams)
	}
	if len(names) != 1200 || names[0] != "topic~0000-0" || names[3] != "topic~0001-1" || !slices.Equal(names, inFull) {
		t.Errorf("%d names from %q, %d in full", len(names), names[:4], len(inFull))
	}
	if got := askFor[listed[string]](t, s, "stream_names_response", "$JS.API.STREAM.NAMES", `{"offset":5000}`); got.Streams == nil || len(got.Streams) != 0 || got.Total != 1200 {
		t.Errorf("behind the end: %+v", got)
	}
	for _, request := range []string{`{"offset":-1}`, `{"subject":"a..b"}`} {
		if got := askFor[failed](t, s, "stream_list_response", "$JS.API.STREAM.LIST", request); got.Error == nil || got.Error.Code != 400 {
			t.Errorf("%s: %v", request, got)
		}
	}
}

// A page is no larger than a message may be.
func TestPagesAreBoundedInBytes(t *testing.T) {
	s := serve(t, Config{Subjects: func(topic string) (all []string) {
		for i := range 100 {
			all = append(all, fmt.Sprintf("%s.%s.%d", strings.Repeat("x", 200), topic, i))
		}
		return all
	}}, fleet(50)...)
	got := 0
	for offset := 0; offset < 100; {
		page := askFor[listed[json.RawMessage]](t, s, "stream_list_response", "$JS.API.STREAM.LIST", fmt.Sprintf(`{"offset":%d}`, offset))
		size := 0
		for _, text := range page.Streams {
			size += len(text)
		}
		if len(page.Streams) == 0 || size > pageBytes {
			t.Fatalf("a page of %d streams in %d bytes", len(page.Streams), size)
		}
		got++
		offset += len(page.Streams)
	}
	if got < 2 {
		t.Errorf("%d page, though all take more than one may", got)
	}
}

// Where messages are small pages are, too, and together they have everything.
func TestPagesFitIntoSmallMessages(t *testing.T) {
	l := press(0, 300)
	for i := range l.records {
		l.records[i].Headers[0].Value = fmt.Appendf(nil, "plant.%d", i)
	}
	s := serve(t, Config{MaxPayload: 4096}, append(fleet(300), l)...)
	for kind, want := range map[string]int{"NAMES": 601, "LIST": 601, "INFO.press-0": 300} {
		got := 0
		for total := 1; got < total; {
			answer := s.ask("$JS.API.STREAM."+kind, fmt.Sprintf(`{"offset":%d,"subjects_filter":">"}`, got))
			var page struct {
				page
				Streams []json.RawMessage `json:"streams"`
				State   streamState       `json:"state"`
			}
			if err := json.Unmarshal([]byte(answer.payload), &page); err != nil || len(page.Streams)+len(page.State.Subjects) == 0 {
				t.Fatalf("%s from %d: %v, %q", kind, got, err, answer.payload)
			}
			got, total = got+len(page.Streams)+len(page.State.Subjects), page.Total
		}
		if got != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
}

// Streams are found by the subjects of their messages.
func TestStreamsBySubject(t *testing.T) {
	s := serve(t, Config{Subjects: func(topic string) []string {
		return map[string][]string{"press": {"plant.*.press.>"}, "all": {">"}}[topic]
	}}, &fakeLog{topic: "all"}, &fakeLog{topic: "press"}, &fakeLog{topic: "press", partition: 1}, &fakeLog{topic: "pump.a"})
	for subject, want := range map[string][]string{
		"":                    {"all-0", "press-0", "press-1", "pump~a-0"},
		"plant.7.press.temp":  {"all-0", "press-0", "press-1"},
		"plant.7.pump.temp":   {"all-0"},
		"plant.>":             {"all-0", "press-0", "press-1"},
		"press":               {"all-0", "press-0", "press-1"},
		"press.key":           {"all-0", "press-0", "press-1"},
		"pump.a.key":          {"all-0", "pump~a-0"},
		"pump.a.key.too.long": {"all-0"},
		"$KV.bucket.>":        {"all-0"},
	} {
		got := askFor[listed[string]](t, s, "stream_names_response", "$JS.API.STREAM.NAMES", fmt.Sprintf(`{"subject":%q}`, subject))
		if !slices.Equal(got.Streams, want) || got.Total != len(want) {
			t.Errorf("%q: %d of %q, want %q", subject, got.Total, got.Streams, want)
		}
	}
}

func TestStreamInfo(t *testing.T) {
	l := press(20, 100).without(20, 21)
	l.topic, l.partition = "plant.press", 3
	s := serve(t, Config{DuplicateWindow: time.Minute, Subjects: func(string) []string { return []string{"plant.>", "other"} }}, l, &fakeLog{topic: "empty", start: 7, end: 7})
	s.consumers = func(st stream) int { return len(st.name) }
	s.reader.perRead = 1
	before := time.Now()
	got := askFor[streamInfo](t, s, "stream_info_response", "$JS.API.STREAM.INFO.plant~press-3", "")
	if got.Now.Before(before.Add(-time.Second)) || got.Now.After(time.Now().Add(time.Second)) {
		t.Errorf("taken at %v", got.Now)
	}
	got.Now = time.Time{}
	want := streamInfo{
		Config: streamConfig{
			Name: "plant~press-3", Subjects: []string{"plant.>", "other"}, Retention: "limits", MaxConsumers: -1, MaxMessages: -1,
			MaxBytes: 1 << 20, MaxAge: time.Hour, MaxMessagesPerSub: -1, MaxMessageBytes: 1 << 20, Discard: "old", Storage: "file",
			Replicas: 1, DuplicateWindow: time.Minute, Compression: "none", AllowDirect: true, DenyDelete: true, DenyPurge: true,
			Metadata: map[string]string{"headwater.topic": "plant.press", "headwater.partition": "3"},
		},
		State:  streamState{Messages: 100, Bytes: 100_000, FirstSeq: 21, FirstTime: timeOf(22), LastSeq: 120, LastTime: timeOf(119), Consumers: len("plant~press-3")},
		Domain: "hw",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = askFor[streamInfo](t, s, "stream_info_response", "$JS.API.STREAM.INFO.empty-0", "")
	if want := (streamState{FirstSeq: 8, LastSeq: 7, Consumers: len("empty-0")}); !reflect.DeepEqual(got.State, want) {
		t.Errorf("empty: %+v, want %+v", got.State, want)
	}
	for name, want := range map[string]string{"empty-1": "404 10059 stream not found", "empty": "404 10059 stream not found"} {
		if got := askFor[failed](t, s, "stream_info_response", "$JS.API.STREAM.INFO."+name, ""); got.String() != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
}

func TestAges(t *testing.T) {
	for millis, want := range map[int64]time.Duration{-1: 0, 0: 1, 1000: time.Second, 1 << 62: 0} {
		if got := age(millis); got != want {
			t.Errorf("%d: %v, want %v", millis, got, want)
		}
	}
}

// Subjects are counted where that is possible, page by page.
func TestSubjectsAreCounted(t *testing.T) {
	type counted struct {
		failed
		page
		streamInfo
	}
	s := serve(t, Config{SearchRecords: 100}, press(20, 100).without(50), &fakeLog{topic: "large", end: 101, records: press(0, 101).records})
	got := askFor[counted](t, s, "stream_info_response", "$JS.API.STREAM.INFO.press-0", `{"subjects_filter":"plant.*"}`)
	if got.Total != 10 || len(got.State.Subjects) != 10 || got.State.Subjects["plant.3"] != 10 || got.State.Subjects["plant.0"] != 9 {
		t.Errorf("%+v %v", got.page, got.State.Subjects)
	}
	got = askFor[counted](t, s, "stream_info_response", "$JS.API.STREAM.INFO.press-0", `{"subjects_filter":">","offset":8}`)
	if want := map[string]int64{"plant.8": 10, "plant.9": 10}; got.Total != 10 || got.Offset != 8 || !reflect.DeepEqual(got.State.Subjects, want) {
		t.Errorf("from offset 8: %+v %v, want %v", got.page, got.State.Subjects, want)
	}
	got = askFor[counted](t, s, "stream_info_response", "$JS.API.STREAM.INFO.press-0", `{"subjects_filter":"plant.3"}`)
	if want := map[string]int64{"plant.3": 10}; !reflect.DeepEqual(got.State.Subjects, want) {
		t.Errorf("of one subject: %v, want %v", got.State.Subjects, want)
	}
	for stream, want := range map[string]string{"large-0": "503 10023 insufficient resources: subjects are counted in streams of up to 100 messages"} {
		if got := askFor[counted](t, s, "stream_info_response", "$JS.API.STREAM.INFO."+stream, `{"subjects_filter":">"}`); !strings.HasPrefix(got.String(), want) {
			t.Errorf("%s: %v, want %s", stream, got.failed, want)
		}
	}
	for _, request := range []string{`{"subjects_filter":"a..b"}`, `{"subjects_filter":">","offset":-1}`} {
		if got := askFor[failed](t, s, "stream_info_response", "$JS.API.STREAM.INFO.press-0", request); got.Error == nil || got.Error.Code != 400 {
			t.Errorf("%s: %v", request, got)
		}
	}
}

// A partition that cannot be read is in the list, with the reason.
func TestOfflineStreams(t *testing.T) {
	s := serve(t, Config{}, press(0, 10), &fakeLog{topic: "pump", err: errors.New("pump-0: the disk is gone")})
	got := askFor[listed[streamInfo]](t, s, "stream_list_response", "$JS.API.STREAM.LIST", "")
	if len(got.Streams) != 2 || got.Streams[0].State.Messages != 10 || got.Streams[1].Config.Name != "pump-0" {
		t.Errorf("listed %+v", got.Streams)
	}
	if want := map[string]string{"pump-0": "the log cannot be read: pump-0: the disk is gone"}; !reflect.DeepEqual(got.Offline, want) {
		t.Errorf("offline: %v, want %v", got.Offline, want)
	}
	if got := askFor[failed](t, s, "stream_info_response", "$JS.API.STREAM.INFO.pump-0", ""); got.String() != "500 10051 the log cannot be read: pump-0: the disk is gone" {
		t.Errorf("info of one that is offline: %v", got)
	}
}

func TestAccountInfo(t *testing.T) {
	s := serve(t, Config{Domain: "site"}, press(0, 10), &fakeLog{topic: "pump", err: errors.New("offline")})
	s.consumers = func(stream) int { return 2 }
	s.ask("$JS.API.INFO", "")
	s.ask("$JS.API.STREAM.INFO.none-0", "")
	got := askFor[map[string]any](t, s, "account_info_response", "$JS.site.API.INFO", "")
	api := got["api"].(map[string]any)
	if got["streams"] != 2.0 || got["storage"] != 10_000.0 || got["consumers"] != 4.0 || got["domain"] != "site" || api["total"] != 2.0 || api["errors"] != 1.0 {
		t.Errorf("%v", got)
	}
	if limits := got["limits"].(map[string]any); limits["max_streams"] != -1.0 || limits["max_storage"] != -1.0 {
		t.Errorf("limits %v", limits)
	}
}

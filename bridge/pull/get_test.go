package pull

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/record"
)

// placed is the header block of a message of press's.
func placed(offset int64, more ...string) string {
	lines := []string{
		"NATS/1.0", "Nats-Stream: press-0", fmt.Sprintf("Nats-Subject: plant.%d", offset%10),
		fmt.Sprintf("Nats-Sequence: %d", offset+1), "Nats-Time-Stamp: " + timeOf(offset).Format("2006-01-02T15:04:05.999999999Z07:00"),
	}
	lines = append(lines, more...)
	return block(append(lines, fmt.Sprintf("hw-subject: plant.%d", offset%10))...)
}

func message(offset int64) said {
	return said{"_INBOX.1", placed(offset), fmt.Sprintf("v%d", offset)}
}

// One message is got by its sequence, by its subject, or by time, directly and in
// JSON; what is not there is told so.
func TestGetOne(t *testing.T) {
	s := serve(t, Config{}, press(20, 100).without(50, 60))
	for name, tc := range map[string]struct {
		request string
		want    int64 // offset; -1: none
	}{
		"sequence":             {`{"seq":31}`, 30},
		"first":                {`{"seq":21}`, 20},
		"last":                 {`{"seq":120}`, 119},
		"beforeStart":          {`{"seq":20}`, -1},
		"behindEnd":            {`{"seq":121}`, -1},
		"farBehindEnd":         {`{"seq":18446744073709551615}`, -1},
		"gap":                  {`{"seq":51}`, -1},
		"lastBySubject":        {`{"last_by_subj":"plant.3"}`, 113},
		"lastByWildcard":       {`{"last_by_subj":"plant.*"}`, 119},
		"lastOfNone":           {`{"last_by_subj":"plant.10"}`, -1},
		"nextBySubject":        {`{"next_by_subj":"plant.3"}`, 23},
		"nextFromSequence":     {`{"seq":25,"next_by_subj":"plant.3"}`, 33},
		"nextAtSequence":       {`{"seq":24,"next_by_subj":"plant.3"}`, 23},
		"nextAcrossGap":        {`{"seq":42,"next_by_subj":"plant.0"}`, 70},
		"nextOfNone":           {`{"seq":115,"next_by_subj":"plant.3"}`, -1},
		"nextFromBehindEnd":    {`{"seq":500,"next_by_subj":"plant.3"}`, -1},
		"nextFromFarBehindEnd": {`{"seq":18446744073709551615,"next_by_subj":"plant.3"}`, -1},
		"time":                 {`{"start_time":"1970-01-01T00:00:00.075Z"}`, 75},
		"betweenTimes":         {`{"start_time":"1970-01-01T00:00:00.0755Z"}`, 76},
		"timeAndSubject":       {`{"start_time":"1970-01-01T00:00:00.075Z","next_by_subj":"plant.*"}`, 75},
		"timeBehindEnd":        {`{"start_time":"1971-01-01T00:00:00Z"}`, -1},
	} {
		want := message(tc.want)
		if tc.want < 0 {
			want = said{"_INBOX.1", block("NATS/1.0 404 no message found"), ""}
		}
		if got := s.ask("$JS.API.DIRECT.GET.press-0", tc.request); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		got := askFor[struct {
			failed
			Message *storedMessage `json:"message"`
		}](t, s, "stream_msg_get_response", "$JS.API.STREAM.MSG.GET.press-0", tc.request)
		switch {
		case tc.want < 0 && got.String() != "404 10037 no message found":
			t.Errorf("%s: in JSON: %v", name, got)
		case tc.want < 0:
		case got.Message == nil || string(got.Message.Data) != want.payload || got.Message.Sequence != uint64(tc.want+1) ||
			got.Message.Subject != fmt.Sprintf("plant.%d", tc.want%10) || !got.Message.Time.Equal(timeOf(tc.want)) ||
			string(got.Message.Headers) != block("NATS/1.0", fmt.Sprintf("hw-subject: plant.%d", tc.want%10)):
			t.Errorf("%s: in JSON: %+v, want what is at offset %d", name, got.Message, tc.want)
		}
	}
	if got := s.ask("$JS.API.DIRECT.GET.press-0.plant.7", ""); got != message(117) {
		t.Errorf("last of the subject's own: %+v", got)
	}
	if got, want := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":31,"no_hdr":true}`), (said{"_INBOX.1", "", "v30"}); got != want {
		t.Errorf("without headers: %+v, want %+v", got, want)
	}
}

// Null, binary and large values come as they are.
func TestGetValues(t *testing.T) {
	l := &fakeLog{topic: "press", end: 4, records: []fakeRecord{
		{0, 0, record.Record{Key: []byte("k")}},
		{1, 0, record.Record{Key: []byte("a b"), Value: []byte{0, '\r', '\n', 0xff}}},
		{2, 0, record.Record{Value: make([]byte, 1000)}},
		{3, 0, record.Record{Value: []byte("next")}},
	}}
	s := serve(t, Config{MaxPayload: 1000}, l)
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":1}`); got.payload != "" || !strings.Contains(got.headers, "Nats-Subject: press.k\r\n") || strings.Contains(got.headers, "hw-key") {
		t.Errorf("a null value: %+v", got)
	}
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":2}`); got.payload != "\x00\r\n\xff" || !strings.Contains(got.headers, "Nats-Subject: press\r\n") || !strings.Contains(got.headers, "hw-key: a b\r\n") {
		t.Errorf("a binary value: %+v", got)
	}
	if got := s.ask("$JS.API.STREAM.MSG.GET.press-0", `{"seq":2}`); !strings.Contains(got.payload, `"data":"`+base64.StdEncoding.EncodeToString([]byte("\x00\r\n\xff"))+`"`) {
		t.Errorf("a binary value in JSON: %+v", got)
	}
	// What nats-server would close the connection for is an error, and the others come.
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":3}`); !strings.HasPrefix(got.headers, "NATS/1.0 400 message size exceeds maximum allowed: 11") || got.payload != "" {
		t.Errorf("too large: %+v", got)
	}
	if got := askFor[failed](t, s, "stream_msg_get_response", "$JS.API.STREAM.MSG.GET.press-0", `{"seq":3}`); got.Error == nil || got.Error.ErrCode != 10054 {
		t.Errorf("too large in JSON: %v", got)
	}
	s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", `{"seq":2,"batch":9}`)
	if first, end := <-s.wire.sent, <-s.wire.sent; first.payload != "\x00\r\n\xff" || end.headers != block("NATS/1.0 204 EOB", "Nats-Num-Pending: 2", "Nats-Last-Sequence: 2", "Nats-UpTo-Sequence: 4") {
		t.Errorf("a batch that meets one that is too large: %+v, then %+v", first, end)
	}
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":3,"batch":9}`); !strings.HasPrefix(got.headers, "NATS/1.0 400 message size") {
		t.Errorf("a batch that begins with one that is too large: %+v", got)
	}
}

func TestGetRefused(t *testing.T) {
	s := serve(t, Config{}, press(0, 10))
	for request, want := range map[string]string{
		``:                             "it names neither a sequence nor a subject nor a time",
		`{}`:                           "it names neither a sequence nor a subject nor a time",
		`{"batch":3}`:                  "it names neither a sequence nor a subject nor a time",
		`{"seq":1,"last_by_subj":"a"}`: "it names more than one place to look at",
		`{"seq":1,"start_time":"2020-01-01T00:00:00Z"}`:            "it names more than one place to look at",
		`{"last_by_subj":"a","next_by_subj":"a"}`:                  "it names more than one place to look at",
		`{"last_by_subj":"a","batch":2}`:                           "it names more than one place to look at",
		`{"last_by_subj":"a","start_time":"2020-01-01T00:00:00Z"}`: "it names more than one place to look at",
		`{"last_by_subj":"a..b"}`:                                  "its subject is not valid",
		`{"next_by_subj":"a.>.b"}`:                                 "its subject is not valid",
		`{"seq":1,"batch":-1}`:                                     "a number is below 0",
		`{"seq":1,"max_bytes":-1}`:                                 "a number is below 0",
		`{"multi_last":["a"]}`:                                     "multi_last is not spoken here: ask for each subject with last_by_subj",
		`{"multi_last":["a"],"up_to_seq":3}`:                       "multi_last is not spoken here: ask for each subject with last_by_subj",
	} {
		if got, want := s.ask("$JS.API.DIRECT.GET.press-0", request), (said{"_INBOX.1", block("NATS/1.0 408 Bad Request: " + want), ""}); got != want {
			t.Errorf("%s: %+v, want %+v", request, got, want)
		}
		if got, want := askFor[failed](t, s, "stream_msg_get_response", "$JS.API.STREAM.MSG.GET.press-0", request), "400 10003 bad request: "+want; got.String() != want {
			t.Errorf("%s: in JSON %q, want %q", request, got, want)
		}
	}
	for subject, want := range map[string]string{
		"$JS.API.DIRECT.GET.press-1":           "404 stream not found",
		"$JS.API.DIRECT.GET.press":             "404 stream not found",
		"$JS.API.DIRECT.GET.press-1.plant.1":   "404 stream not found",
		"$JS.API.DIRECT.GET.press-0.plant..1":  "408 Bad Request: its subject is not valid",
		"$JS.hw.API.DIRECT.GET.press-0.plant.": "408 Bad Request: its subject is not valid",
	} {
		if got := s.ask(subject, `{"seq":1}`); got.headers != block("NATS/1.0 "+want) {
			t.Errorf("%s: %+v, want %s", subject, got, want)
		}
	}
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":-1}`); !strings.HasPrefix(got.headers, "NATS/1.0 400 invalid JSON: ") || strings.Count(got.headers, "\r\n") != 2 {
		t.Errorf("no JSON: %+v", got)
	}
	if got := askFor[failed](t, s, "stream_msg_get_response", "$JS.API.STREAM.MSG.GET.press-0", `{"seq":1,"batch":2}`); !strings.Contains(got.String(), "DIRECT.GET") {
		t.Errorf("a batch in JSON: %v", got)
	}
	s.reader.logs[0].err = fmt.Errorf("press-0: the disk\r\nis gone")
	if got := s.ask("$JS.API.DIRECT.GET.press-0", `{"seq":1}`); got.headers != block("NATS/1.0 500 the log cannot be read: press-0: the disk  is gone") {
		t.Errorf("offline: %+v", got)
	}
}

// A batch is messages in a row, each with how many follow, and a status at its end.
func TestBatch(t *testing.T) {
	s := serve(t, Config{}, press(20, 100).without(50, 118))
	size := len(placed(25, "Nats-Num-Pending: 94", "Nats-Last-Sequence: 0")) + len("v25")
	for name, tc := range map[string]struct {
		request string
		want    []int64
		pending int64
	}{
		"number":       {`{"seq":26,"batch":3}`, []int64{25, 26, 27}, 92},
		"acrossGap":    {`{"seq":50,"batch":3}`, []int64{49, 51, 52}, 67},
		"fromGap":      {`{"seq":51,"batch":2}`, []int64{51, 52}, 67},
		"beforeStart":  {`{"seq":1,"batch":1}`, []int64{20}, 99},
		"toTheEnd":     {`{"seq":117,"batch":9}`, []int64{116, 117, 119}, 0},
		"bytes":        {fmt.Sprintf(`{"seq":26,"batch":9,"max_bytes":%d}`, size), []int64{25}, 94},
		"moreBytes":    {fmt.Sprintf(`{"seq":26,"batch":9,"max_bytes":%d}`, size+1), []int64{25, 26}, 93},
		"subject":      {`{"seq":26,"batch":2,"next_by_subj":"plant.3"}`, []int64{33, 43}, 76},
		"subjectToEnd": {`{"seq":100,"batch":9,"next_by_subj":"plant.3"}`, []int64{103, 113}, 0},
		"time":         {`{"start_time":"1970-01-01T00:00:00.075Z","batch":2}`, []int64{75, 76}, 43},
	} {
		s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", tc.request)
		last := int64(0)
		for _, offset := range tc.want {
			headers := placed(offset, fmt.Sprintf("Nats-Num-Pending: %d", 119-offset), fmt.Sprintf("Nats-Last-Sequence: %d", last))
			if got := <-s.wire.sent; got != (said{"_INBOX.1", headers, fmt.Sprintf("v%d", offset)}) {
				t.Fatalf("%s: %+v, want offset %d with %q", name, got, offset, headers)
			}
			last = offset + 1
		}
		if got, want := <-s.wire.sent, block("NATS/1.0 204 EOB", fmt.Sprintf("Nats-Num-Pending: %d", tc.pending), fmt.Sprintf("Nats-Last-Sequence: %d", last), "Nats-UpTo-Sequence: 120"); got.headers != want || got.payload != "" {
			t.Errorf("%s: ended with %+v, want %q", name, got, want)
		}
	}
	for _, request := range []string{`{"seq":121,"batch":3}`, `{"seq":115,"batch":3,"next_by_subj":"plant.3"}`} {
		if got := s.ask("$JS.API.DIRECT.GET.press-0", request); got.headers != block("NATS/1.0 404 no message found") {
			t.Errorf("%s: %+v", request, got)
		}
	}
}

// Searches find what a look at every record finds, whatever gaps there are and
// however much a read brings.
func TestSearchesAgreeWithALookAtAll(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 8))
	for round := range 30 {
		start, n := random.Int64N(50), random.IntN(3*firstStep)
		l := press(start, n)
		for i := range l.records {
			l.records[i].Headers[0].Value = fmt.Appendf(nil, "plant.%d", random.IntN(1+random.IntN(400)))
		}
		for range random.IntN(n + 1) {
			l.without(start + random.Int64N(int64(n)))
		}
		s := newServed(Config{}, l)
		s.reader.perRead = 1 + random.IntN(300)
		s.run(t)
		for range 20 {
			want := filter(fmt.Sprintf("plant.%d", random.IntN(400)))
			from := start + random.Int64N(int64(n)+1)
			first, last := int64(-1), int64(-1)
			for _, f := range l.records {
				if want.Matches(f.Headers[0].Value) {
					last = f.offset
					if first < 0 && f.offset >= from {
						first = f.offset
					}
				}
			}
			checkFound(t, s, fmt.Sprintf(`{"last_by_subj":%q}`, want), last)
			checkFound(t, s, fmt.Sprintf(`{"seq":%d,"next_by_subj":%q}`, from+1, want), first)
		}
		s.stop()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func checkFound(t *testing.T, s *served, request string, offset int64) {
	t.Helper()
	got := s.ask("$JS.API.DIRECT.GET.press-0", request)
	want := fmt.Sprintf("Nats-Sequence: %d\r\n", offset+1)
	if offset < 0 {
		want = "NATS/1.0 404 no message found\r\n"
	}
	if !strings.Contains(got.headers, want) {
		t.Errorf("%s: %+v, want %q", request, got, want)
	}
}

// A search that has looked at all it may says so: neither that there is nothing, nor
// something that may not be what was asked for.
func TestSearchLimit(t *testing.T) {
	l := press(0, quickRecords+3000)
	l.records[100].Headers[0].Value = []byte("plant.early")
	l.records[quickRecords+100].Headers[0].Value = []byte("plant.late")
	const limit = "NATS/1.0 500 insufficient resources: no such message among "
	for name, tc := range map[string]struct {
		cfg     Config
		request string
		found   int64 // -1: the limit
	}{
		"lastNear":      {Config{SearchRecords: 5000}, `{"last_by_subj":"plant.late"}`, quickRecords + 100},
		"lastFar":       {Config{SearchRecords: quickRecords}, `{"last_by_subj":"plant.early"}`, -1},
		"lastSlow":      {Config{SearchRecords: quickRecords + 3000}, `{"last_by_subj":"plant.early"}`, 100},
		"nextNear":      {Config{SearchRecords: 5000}, `{"seq":1,"next_by_subj":"plant.early"}`, 100},
		"nextFar":       {Config{SearchRecords: quickRecords}, `{"seq":1,"next_by_subj":"plant.late"}`, -1},
		"nextSlow":      {Config{SearchRecords: quickRecords + 3000}, `{"seq":1,"next_by_subj":"plant.late"}`, quickRecords + 100},
		"bytes":         {Config{SearchBytes: 5000 * recordBytes}, `{"seq":1,"next_by_subj":"plant.late"}`, -1},
		"batchFar":      {Config{SearchRecords: 5000}, `{"seq":1,"next_by_subj":"plant.late","batch":2}`, -1},
		"lastCutOff":    {Config{SearchBytes: 100 * recordBytes}, `{"last_by_subj":"plant.3"}`, -1},
		"notThereInAll": {Config{SearchRecords: 5000}, `{"last_by_subj":"plant.never"}`, -1},
	} {
		s := newServed(tc.cfg, l)
		s.reader.perRead = 1000
		s.run(t)
		got := s.ask("$JS.API.DIRECT.GET.press-0", tc.request)
		switch {
		case tc.found < 0 && !strings.HasPrefix(got.headers, limit):
			t.Errorf("%s: %+v, want %q", name, got, limit)
		case tc.found >= 0 && !strings.Contains(got.headers, fmt.Sprintf("Nats-Sequence: %d\r\n", tc.found+1)):
			t.Errorf("%s: %+v, want offset %d", name, got, tc.found)
		}
		s.stop()
	}
	// A batch that reaches the limit between two messages ends, and says that there may
	// be more.
	s := newServed(Config{SearchRecords: 5000}, l)
	s.reader.perRead = 1000
	s.run(t)
	s.take("$JS.API.DIRECT.GET.press-0", "_INBOX.1", `{"seq":1,"next_by_subj":"plant.early","batch":2}`)
	if first, end := <-s.wire.sent, <-s.wire.sent; !strings.Contains(first.headers, "Nats-Sequence: 101\r\n") ||
		end.headers != block("NATS/1.0 204 EOB", fmt.Sprintf("Nats-Num-Pending: %d", l.end-101), "Nats-Last-Sequence: 101", fmt.Sprintf("Nats-UpTo-Sequence: %d", l.end)) {
		t.Errorf("%+v, then %+v", first, end)
	}
}

package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// raw is a frame of the given key and version with body, and a true length.
func raw(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 1, 0xff, 0xff) // correlation id, no client id
	return append(b, body...)
}

// Whatever comes in at the port: a Kafka error or a closed connection, memory
// flat, and a neighbour that is served all the while.
func TestBadInput(t *testing.T) {
	twoBillion := []byte{0x7f, 0xff, 0xff, 0xff}
	compact := []byte{0xff, 0xff, 0xff, 0xff, 0x07}
	hungry := make([]byte, 200<<10) // as much as a request may have, for counts to point at
	cases := map[string][]byte{
		"twoGigabytes":       {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0},
		"minusOne":           {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0},
		"http":               []byte("GET / HTTP/1.1\r\nHost: box\r\n\r\n"),
		"tls":                {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"unknownKey":         raw(999, 0, nil),
		"negativeKey":        raw(-1, 0, nil),
		"unknownVersion":     raw(wire.Metadata, 99, nil),
		"negativeVersion":    raw(wire.Metadata, -1, nil),
		"emptyProduce":       raw(wire.Produce, 9, nil),
		"metadataArray":      raw(wire.Metadata, 1, twoBillion),
		"metadataArrayLong":  raw(wire.Metadata, 1, append(twoBillion, hungry...)),
		"metadataTags":       raw(wire.Metadata, 9, append([]byte{0, 0, 0, 0, 0}, compact...)),
		"headerTags":         raw(wire.Metadata, 9, compact),
		"fetchArray":         raw(wire.Fetch, 4, append(make([]byte, 17), append(twoBillion, hungry...)...)),
		"fetchMillions":      raw(wire.Fetch, 12, append(make([]byte, 26), append([]byte{0x80, 0x80, 0x0c}, hungry...)...)),
		"createArray":        raw(wire.CreateTopics, 2, append([]byte{0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 1, 0, 1}, append(twoBillion, hungry...)...)),
		"produceTopics":      raw(wire.Produce, 3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 0}, append(twoBillion, hungry...)...)),
		"producePartitions":  raw(wire.Produce, 9, append([]byte{0, 0, 0, 1, 0, 0, 0, 0, 2, 2, 'a', 0x81, 0x80, 0x0c}, hungry...)),
		"produceRecords":     raw(wire.Produce, 3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5, 'p', 'r', 'e', 's', 's', 0, 0, 0, 1, 0, 0, 0, 0}, append(twoBillion, hungry...)...)),
		"repeatedTopics":     format.AppendRequest(nil, withTopics(12, "press", 10000), 1),
		"truncatedBatch":     produceFrame(batch(5, 100, 0)[:200]),
		"wrongChecksum":      produceFrame(append(batch(5, 100, 0)[:200], make([]byte, 500)...)),
		"twoBillionRecords":  produceFrame(changed(batch(5, 100, 0), claims(2_000_000_000))),
		"twoBillionGzipped":  produceFrame(changed(changed(batch(5, 100, 0), claims(2_000_000_000)), compressed(1))),
		"batchOfTwoBillion":  produceFrame(changed(batch(5, 100, 0), func(b []byte) { binary.BigEndian.PutUint32(b[8:], 2_000_000_000) })),
		"batchOfMinusTwenty": produceFrame(changed(batch(5, 100, 0), func(b []byte) { binary.BigEndian.PutUint32(b[8:], 0xffffffec) })),
	}
	rng := rand.NewChaCha8([32]byte{7})
	for i := range 100 {
		junk := make([]byte, 2000)
		rng.Read(junk)
		cases["random"+string(rune('A'+i))] = junk
		e := table[i%len(table)]
		cases["randomBody"+string(rune('A'+i))] = raw(e.key, e.max, junk)
	}

	b := newBox(t)
	b.create(t, "press", 40, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.serve(t, ln)
	neighbour := tcp(t, ln)
	call[*kmsg.ApiVersionsResponse](t, neighbour, kmsg.NewPtrApiVersionsRequest(), 0)

	before := heap()
	for name, bytes := range cases {
		c := tcp(t, ln)
		start := time.Now()
		if err := c.send(bytes); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		call[*kmsg.MetadataResponse](t, neighbour, metadataRequest("press"), 12)
		if took := time.Since(start); took > 5*second {
			t.Errorf("%s took %v", name, took)
		}
	}
	if grown := int64(heap()) - int64(before); grown > 8<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if n := len(b.partition("press", 0).batches); n != 0 {
		t.Errorf("%d batches were appended", n)
	}
}

func produceFrame(records []byte) []byte {
	req := produceRequest(-1, "press", 0, bytes.Clone(records))
	req.Version = 9
	return format.AppendRequest(nil, req, 1)
}

func withTopics(version int16, name string, n int) kmsg.Request {
	req := metadataRequest()
	req.Version = version
	for range n {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	return req
}

func tcp(t *testing.T, ln net.Listener) *client {
	t.Helper()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * second))
	return &client{conn: conn}
}

// send writes b, says that no more comes, and reads until the broker has closed
// the connection or answered with less than a megabyte.
func (c *client) send(b []byte) error {
	c.conn.Write(b) // the broker may close before it has read all
	c.conn.(*net.TCPConn).CloseWrite()
	n, err := io.Copy(io.Discard, c.conn)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("neither answered nor closed")
	case n > 1<<20:
		return errors.New("the answer has more than a megabyte")
	}
	return nil
}

// heap is what the heap has ever taken from the system: unlike what is in use, it
// remembers a peak.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}

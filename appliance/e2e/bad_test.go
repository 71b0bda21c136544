package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/broker/record"
)

// maxGrowth is how far the process's peak memory may rise over that of ordinary
// use while it is fed nonsense: what a Go heap of its size gathers between two
// collections, and far below anything that the nonsense claims.
const maxGrowth = 16 << 20

// Whatever arrives on the Kafka port is answered with a Kafka error or a closed
// connection. Memory does not follow what is claimed, and other clients notice
// nothing.
func TestBadInput(t *testing.T) {
	p := start(t)
	others := startOthers(t, p)
	others.through.await(t, p, 500, "records of the client beside")
	_, before, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	createTopic(t, p.Kafka, "bad", 1)

	t.Run("frames", func(t *testing.T) { testBadFrames(t, p.Kafka) })
	t.Run("requests", func(t *testing.T) { testBentRequests(t, p.Kafka) })
	t.Run("batches", func(t *testing.T) { testBadBatches(t, p.Kafka) })
	t.Run("promises", func(t *testing.T) { testPromises(t, p.Kafka) })

	others.through.awaitMore(t, p, 500, "records of the client beside")
	others.stop(t)
	if left := dial(t, p.Kafka).batches("bad", 0, 0); len(left) != 0 {
		t.Errorf("%d batches are stored where only bad ones were sent", len(left))
	}
	_, peak, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak memory %d KiB before, %d KiB after", before>>10, peak>>10)
	if peak-before > maxGrowth {
		t.Errorf("peak memory rose from %d MiB to %d MiB, %d MiB are allowed", before>>20, peak>>20, maxGrowth>>20)
	}
}

// frame puts a length before p, which may be a lie.
func frame(length int32, p ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(length)), p...)
}

// header is a request's header of version 1, without a client id.
func header(key, version int16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, correlation)
	return append(b, 0xff, 0xff)
}

// framed is a request of which only the length is right.
func framed(parts ...[]byte) []byte {
	p := slices.Concat(parts...)
	return frame(int32(len(p)), p...)
}

func int32s(v ...int32) (b []byte) {
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return b
}

const twoBillion = 2_000_000_000

func testBadFrames(t *testing.T, address string) {
	hugeUvarint := binary.AppendUvarint(nil, math.MaxUint32)
	for name, in := range map[string][]byte{
		"length2GB":             frame(math.MaxInt32, []byte("and no more")...),
		"length-1":              frame(-1, header(kmsg.Metadata.Int16(), 1)...),
		"lengthMin":             frame(math.MinInt32, 0),
		"length0":               frame(0),
		"length3":               frame(3, 0, 3, 0),
		"headerCut":             framed(header(kmsg.Metadata.Int16(), 1)[:7]),
		"clientIDPastEnd":       framed(header(kmsg.Metadata.Int16(), 1)[:8], []byte{0x7f, 0xff, 'x'}),
		"clientID-2":            framed(header(kmsg.Metadata.Int16(), 1)[:8], []byte{0xff, 0xfe}),
		"unknownKey":            framed(header(9999, 0)),
		"key-1":                 framed(header(-1, 0)),
		"versionTooHigh":        framed(header(kmsg.Metadata.Int16(), math.MaxInt16), int32s(0)),
		"version-1":             framed(header(kmsg.Metadata.Int16(), -1), int32s(0)),
		"oldProduce":            framed(header(kmsg.Produce.Int16(), 0), int32s(0, 0)),
		"metadata2Billion":      framed(header(kmsg.Metadata.Int16(), 1), int32s(twoBillion)),
		"metadata-2":            framed(header(kmsg.Metadata.Int16(), 1), int32s(-2)),
		"metadataCompact":       framed(header(kmsg.Metadata.Int16(), 9), []byte{0}, hugeUvarint),
		"produce2Billion":       framed(header(kmsg.Produce.Int16(), 3), []byte{0xff, 0xff, 0xff, 0xff}, int32s(1000, twoBillion)),
		"producePartitions":     framed(header(kmsg.Produce.Int16(), 3), []byte{0xff, 0xff, 0xff, 0xff}, int32s(1000, 1), []byte("\x00\x03bad"), int32s(twoBillion)),
		"produceRecords2GB":     framed(header(kmsg.Produce.Int16(), 3), []byte{0xff, 0xff, 0xff, 0xff}, int32s(1000, 1), []byte("\x00\x03bad"), int32s(1, 0, math.MaxInt32)),
		"produceCompactRecords": framed(header(kmsg.Produce.Int16(), 9), []byte{0, 0, 0xff, 0xff}, int32s(1000), []byte("\x02\x04bad\x02"), int32s(0), hugeUvarint),
		"fetch2Billion":         framed(header(kmsg.Fetch.Int16(), 4), int32s(-1, 100, 1, twoBillion), []byte{0}, int32s(twoBillion)),
		"listOffsets2Billion":   framed(header(kmsg.ListOffsets.Int16(), 1), int32s(-1, twoBillion)),
		"createTopics2Billion":  framed(header(kmsg.CreateTopics.Int16(), 1), int32s(twoBillion)),
		"tagsWithoutEnd":        framed(header(kmsg.Metadata.Int16(), 9), hugeUvarint),
		"tagPastEnd":            framed(header(kmsg.Metadata.Int16(), 9), []byte{1, 0}, hugeUvarint),
		"http":                  []byte("GET / HTTP/1.1\r\nHost: headwater\r\n\r\n"),
		"tls":                   {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
	} {
		t.Run(name, func(t *testing.T) { answeredOrClosed(t, address, in) })
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		in := make([]byte, 1+rng.IntN(4096))
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		answeredOrClosed(t, address, in)
		answeredOrClosed(t, address, framed(header(int16(rng.IntN(70)), int16(rng.IntN(14))), in))
	}
}

// answeredOrClosed sends bytes and then nothing more, and waits until the other
// side has closed the connection. Before that it may have answered.
func answeredOrClosed(t *testing.T, address string, in []byte) {
	t.Helper()
	conn := dial(t, address)
	defer conn.Close()
	conn.Write(in) // it may be refused on the way
	conn.Conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Errorf("neither answered nor closed within %v, after %d bytes: % x", patience, len(answer), in[:min(len(in), 64)])
	}
	// Answers are frames, whatever they say.
	for rest := answer; len(rest) > 0; {
		if len(rest) < 8 || int64(binary.BigEndian.Uint32(rest)) > int64(len(rest)-4) {
			t.Fatalf("answered with half a frame, % x", rest[:min(len(rest), 64)])
		}
		rest = rest[4+binary.BigEndian.Uint32(rest):]
	}
}

// Good requests, cut at every byte with a length that is right for what is left,
// and with every byte turned over.
func testBentRequests(t *testing.T, address string) {
	meta := kmsg.NewPtrMetadataRequest()
	ask := kmsg.NewMetadataRequestTopic()
	ask.Topic = kmsg.StringPtr("bad")
	meta.Version, meta.Topics = 9, append(meta.Topics, ask)

	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "never", 1, 1
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.ValidateOnly, create.Topics = 4, true, append(create.Topics, topic)

	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp = -1
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic, of.Partitions = "bad", append(of.Partitions, part)
	list := kmsg.NewPtrListOffsetsRequest()
	list.Version, list.ReplicaID, list.Topics = 2, -1, append(list.Topics, of)

	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 3, "e2e", "1"

	// The batch has a checksum that is wrong to begin with: with whatever byte
	// turned over, it must not be stored.
	produce := produceRequest("bad", 0, -1, broken(t, func(b record.Batch) record.Batch { b[20] ^= 1; return b }))

	for name, req := range map[string]kmsg.Request{
		"metadata": meta, "createTopics": create, "listOffsets": list, "apiVersions": versions, "produce": produce,
	} {
		t.Run(name, func(t *testing.T) {
			whole := request(req)[4:]
			for i := range whole {
				answeredOrClosed(t, address, framed(whole[:i]))
				turned := slices.Clone(whole)
				turned[i] ^= 0xff
				answeredOrClosed(t, address, framed(turned))
			}
		})
	}
}

// broken is a good batch that was changed, without a care for its checksum.
func broken(t *testing.T, change func(record.Batch) record.Batch) []byte {
	t.Helper()
	return change(batchOf(t, record.None, 3, 0))
}

// claim returns a batch that claims n records under a checksum that is right.
func claim(t *testing.T, c record.Codec, n int32) record.Batch {
	t.Helper()
	b := batchOf(t, c, 3, 0)
	binary.BigEndian.PutUint32(b[23:], uint32(n-1))
	binary.BigEndian.PutUint32(b[57:], uint32(n))
	return reframed(b, int16(c), b.Payload())
}

func testBadBatches(t *testing.T, address string) {
	put := func(at int, v int32) func(record.Batch) record.Batch {
		return func(b record.Batch) record.Batch { binary.BigEndian.PutUint32(b[at:], uint32(v)); return b }
	}
	good := batchOf(t, record.None, 3, 0)
	for name, records := range map[string][]byte{
		"nothing":         {},
		"null":            nil,
		"oneByte":         {0},
		"truncated":       good[:len(good)-1],
		"headerOnly":      good[:record.HeaderLen],
		"length2GB":       broken(t, put(8, math.MaxInt32)),
		"length-1":        broken(t, put(8, -1)),
		"checksum":        broken(t, put(17, 1)),
		"magic0":          broken(t, func(b record.Batch) record.Batch { b[16] = 0; return b }),
		"magic1":          broken(t, func(b record.Batch) record.Batch { b[16] = 1; return b }),
		"magic3":          broken(t, func(b record.Batch) record.Batch { b[16] = 3; return b }),
		"trailingBytes":   append(slices.Clone(good), 1, 2, 3),
		"secondTruncated": slices.Concat(good, good[:len(good)-1]),
		"2Billion":        claim(t, record.None, twoBillion),
		"2BillionGzip":    claim(t, record.Gzip, twoBillion),
		"2BillionZstd":    claim(t, record.Zstd, twoBillion),
		"noRecords":       claim(t, record.None, 0),
		"count-1":         claim(t, record.None, -1),
		"oneMore":         claim(t, record.None, 4),
		"oneLess":         claim(t, record.None, 2),
		"codec7":          reframed(good, 7, good.Payload()),
		"control":         reframed(good, 0x20, good.Payload()),
		"recordCut":       reframed(good, 0, good.Payload()[:len(good.Payload())-1]),
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []int16{3, 7, 9} {
				req := produceRequest("bad", 0, -1, records)
				req.Version = version
				part := dial(t, address).ask(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
				if part.ErrorCode == 0 || part.BaseOffset != -1 {
					t.Errorf("version %d: error code %d, base offset %d, want an error and -1", version, part.ErrorCode, part.BaseOffset)
				} else if err := kerr.ErrorForCode(part.ErrorCode); err == kerr.UnknownServerError || err == kerr.KafkaStorageError {
					t.Errorf("version %d: %v, want an error that blames the request", version, err)
				}
			}
		})
	}
}

// Many connections announce more than they send. Each may cost what it sent, not
// what it announced.
func testPromises(t *testing.T, address string) {
	for _, announced := range []int32{900 << 10, 16 << 20, 100 << 20} {
		var conns []wire
		for range 64 {
			conn := dial(t, address)
			conn.Write(frame(announced, header(kmsg.Produce.Int16(), 7)...))
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			conn.Conn.(*net.TCPConn).CloseWrite()
			if answer, err := io.ReadAll(conn); len(answer) > 0 {
				t.Errorf("half of %d bytes was answered with %d, err %v", announced, len(answer), err)
			}
			conn.Close()
		}
	}
}

// others is a client that behaves, beside those that do not: it produces and
// consumes all the time, and notices everything.
type others struct {
	through *progress // records that were produced, acked and consumed
	stop    func(t *testing.T)
}

func startOthers(t *testing.T, p *process.Process) *others {
	createTopic(t, p.Kafka, "good", 1)
	o := &others{through: newProgress()}
	cl := client(t, p.Kafka, kgo.ConsumeTopics("good"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	ctx := within(t, 3*patience)
	ending := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- func() error {
			for i := 0; ; i++ {
				select {
				case <-ending:
					return nil
				default:
				}
				value := fmt.Sprint(i)
				if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "good", Value: []byte(value)}).FirstErr(); err != nil {
					return fmt.Errorf("produce %d: %w", i, err)
				}
				fetches := cl.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					return fmt.Errorf("consume %d: %w", i, err)
				}
				if got := fetches.Records(); len(got) != 1 || string(got[0].Value) != value || got[0].Offset != int64(i) {
					return fmt.Errorf("consumed %v, want %d", got, i)
				}
				o.through.add(1)
			}
		}()
	}()
	o.stop = func(t *testing.T) {
		t.Helper()
		close(ending)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the client beside was disturbed: %v", err)
			}
		case <-within(t, patience).Done():
			t.Error("the client beside hangs")
		}
	}
	return o
}

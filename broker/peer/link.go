package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// link is a connection that stands.
type link struct {
	nc            net.Conn
	correlationID int32
	out           []byte   // the last request, for its memory
	versions      versions // nil before the broker was asked
}

// keptBytes is how large a request may be whose memory is used for the next one.
const keptBytes = 64 << 10

// exchange sends req and reads its answer. The link may be used again only if it is
// intact, which it can fail to be also beside an answer: ctx ended just then.
func (l *link) exchange(ctx context.Context, req kmsg.Request, cfg Config) (resp kmsg.Response, intact bool, err error) {
	stop := context.AfterFunc(ctx, func() { l.nc.Close() })
	resp, err = l.roundTrip(req, cfg)
	return resp, stop() && err == nil, err
}

func (l *link) roundTrip(req kmsg.Request, cfg Config) (kmsg.Response, error) {
	start := time.Now()
	if err := l.nc.SetDeadline(start.Add(cfg.RequestTimeout)); err != nil {
		return nil, err
	}
	l.correlationID++
	l.out = wire.AppendRequest(l.out[:0], l.correlationID, cfg.ClientID, req)
	_, err := l.nc.Write(l.out)
	if cap(l.out) > keptBytes {
		l.out = nil
	}
	if err != nil {
		return nil, err
	}
	frame, err := l.read(patient{l.nc, cfg.RequestTimeout, start.Add(cfg.AnswerTimeout)}, cfg.MaxResponseBytes)
	if err != nil {
		return nil, err
	}
	return wire.DecodeResponse(req, l.correlationID, frame)
}

// read returns the next frame, without its length.
func (l *link) read(from io.Reader, maxBytes int) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	size := int32(binary.BigEndian.Uint32(length[:]))
	if size < 4 || int64(size) > int64(maxBytes) {
		return nil, fmt.Errorf("%w: of %d bytes, where 4 to %d are possible", wire.ErrBadAnswer, size, maxBytes)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(from, frame); err != nil {
		return nil, err
	}
	return frame, nil
}

// patient reads for as long as something comes, and not beyond end.
type patient struct {
	net.Conn
	silence time.Duration
	end     time.Time
}

func (p patient) Read(b []byte) (int, error) {
	until := time.Now().Add(p.silence)
	if until.After(p.end) {
		until = p.end
	}
	if err := p.SetReadDeadline(until); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// versions are the latest versions that a broker offers, by API.
type versions map[int16]int16

// offered reads what the broker says that it knows.
func offered(resp *kmsg.ApiVersionsResponse) (versions, error) {
	if code := wire.ErrorCode(resp.ErrorCode); code != wire.None {
		return nil, fmt.Errorf("%w: error %v", wire.ErrBadAnswer, code)
	}
	v := make(versions, len(resp.ApiKeys))
	for _, k := range resp.ApiKeys {
		v[k.ApiKey] = k.MaxVersion
	}
	return v, nil
}

func (v versions) latest(key int16) int16 {
	theirs, ok := v[key]
	ours := wire.NewRequest(key)
	if !ok || ours == nil {
		return -1
	}
	return min(theirs, ours.MaxVersion())
}

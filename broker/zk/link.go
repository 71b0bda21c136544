package zk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is one connection to a server, between the library and the network. It looks
// at the packets that pass, as much of them as tells when ZooKeeper has heard of us
// last: when a request was sent that it has answered. It also bounds the handshake,
// which the library does not.
//
// A packet is its length (int32) and that many bytes. The first of each side is the
// handshake; the others start with the number of the request (xid, int32), and in
// requests the operation (int32) follows.
type link struct {
	net.Conn
	on        linkEvents
	handshake time.Time   // it ends at this time
	open      atomic.Bool // the handshake is over

	mu   sync.Mutex // guards sent
	sent []sentRequest

	// The reader's alone:
	head []byte // of the packet that is coming
	skip int    // bytes of it that nobody looks at
}

// linkEvents is what a link tells of. The functions must not block.
type linkEvents struct {
	granted func(sessionID int64, timeout time.Duration, sentAt time.Time)
	heard   func(sentAt time.Time)
	rearmed func() // the library has asked for its watches again, or knows of none
}

type sentRequest struct {
	xid int32
	at  time.Time
}

const (
	xidHandshake = -100 // of our own: the handshake has none
	xidWatch     = -1   // of what comes unasked
	xidPing      = -2

	opSetWatches = 101

	maxHandshakeBytes = 1 << 10
	maxSent           = 256 // more than can be on their way; beyond it the oldest are forgotten
)

func newLink(conn net.Conn, handshake time.Time, on linkEvents) *link {
	return &link{Conn: conn, on: on, handshake: handshake}
}

// Write sends a packet: the library writes each one as a whole.
func (l *link) Write(packet []byte) (int, error) {
	if !l.open.Load() {
		l.note(xidHandshake)
		return l.Conn.Write(packet)
	}
	rearmed := false
	if len(packet) >= 12 {
		xid := int32(binary.BigEndian.Uint32(packet[4:]))
		l.note(xid)
		rearmed = xid == xidPing || binary.BigEndian.Uint32(packet[8:]) == opSetWatches
	}
	n, err := l.Conn.Write(packet)
	if rearmed && err == nil {
		l.on.rearmed()
	}
	return n, err
}

func (l *link) note(xid int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == maxSent {
		l.sent = append(l.sent[:0], l.sent[1:]...)
	}
	l.sent = append(l.sent, sentRequest{xid, time.Now()})
}

// Read reads, and looks at what came.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if broken := l.feed(p[:n]); broken != nil {
		return n, broken
	}
	return n, err
}

// feed looks at the next bytes of the stream.
func (l *link) feed(p []byte) error {
	for len(p) > 0 {
		if l.skip > 0 {
			n := min(l.skip, len(p))
			l.skip, p = l.skip-n, p[n:]
			continue
		}
		want := 4
		if len(l.head) >= 4 {
			want = l.headBytes()
		}
		n := min(want-len(l.head), len(p))
		l.head, p = append(l.head, p[:n]...), p[n:]
		if len(l.head) == 4 {
			if err := l.checkLength(); err != nil {
				return err
			}
		}
		if len(l.head) == l.headBytes() {
			l.packet()
		}
	}
	return nil
}

// headBytes is how much of a packet is looked at: its length, and what follows.
func (l *link) headBytes() int {
	if l.open.Load() {
		return 4 + 4 // xid
	}
	return 4 + 4 + 4 + 8 // protocol, timeout, session
}

func (l *link) length() int { return int(binary.BigEndian.Uint32(l.head)) }

func (l *link) checkLength() error {
	if !l.open.Load() && l.length() > maxHandshakeBytes {
		return fmt.Errorf("handshake of %d bytes: %w", l.length(), errNotZooKeeper)
	}
	if 4+l.length() < l.headBytes() {
		return fmt.Errorf("packet of %d bytes: %w", l.length(), errNotZooKeeper)
	}
	return nil
}

var errNotZooKeeper = errors.New("the server does not speak ZooKeeper's protocol")

// packet tells of a packet whose head has come.
func (l *link) packet() {
	head := l.head
	l.skip, l.head = 4+l.length()-len(head), l.head[:0]
	if l.open.Load() {
		if at, ok := l.answered(int32(binary.BigEndian.Uint32(head[4:]))); ok {
			l.on.heard(at)
		}
		return
	}
	at, _ := l.answered(xidHandshake)
	l.open.Store(true)
	timeout := time.Duration(int32(binary.BigEndian.Uint32(head[8:]))) * time.Millisecond
	if sessionID := int64(binary.BigEndian.Uint64(head[12:])); sessionID != 0 && timeout > 0 {
		l.on.granted(sessionID, timeout, at)
	}
}

// answered returns when the request was sent that an answer is for, and forgets those
// before it: answers come in order. Should one come late, its time says nothing new.
func (l *link) answered(xid int32) (at time.Time, ok bool) {
	if xid == xidWatch {
		return time.Time{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.sent {
		if r.xid == xid {
			l.sent = append(l.sent[:0], l.sent[i+1:]...)
			return r.at, true
		}
	}
	return time.Time{}, false
}

// SetReadDeadline, and the other two, let nobody extend the handshake.
func (l *link) SetReadDeadline(t time.Time) error  { return l.Conn.SetReadDeadline(l.bounded(t)) }
func (l *link) SetWriteDeadline(t time.Time) error { return l.Conn.SetWriteDeadline(l.bounded(t)) }
func (l *link) SetDeadline(t time.Time) error      { return l.Conn.SetDeadline(l.bounded(t)) }

func (l *link) bounded(t time.Time) time.Time {
	if !l.open.Load() && (t.IsZero() || t.After(l.handshake)) {
		return l.handshake
	}
	return t
}

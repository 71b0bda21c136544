package mqtt

import (
	"strings"
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What clients can make the server keep is bounded, beside what Config says.
const (
	sessionsPerConnection = 4        // of those that are allowed: sessions that are kept, with a connection or without
	maxRetained           = 10_000   // messages
	maxRetainedBytes      = 16 << 20 // of them
	maxWaitingBytes       = 32 << 20 // of publishes at QoS 1 and 2 that have no answer yet, of all clients
	maxSubscriptions      = 1024     // of one client
	maxTopicBytes         = 4 << 10  // of a topic or filter
	maxLevels             = 128      // of a topic or filter: mochi's search takes the square of it
	publishOverhead       = 512      // bytes beside topic and payload
)

// hold makes room for a publish that waits for its answer.
func (s *Server) hold(p *publish) bool {
	size := len(p.packet.Payload) + len(p.packet.TopicName) + publishOverhead
	for _, u := range p.packet.Properties.User {
		size += len(u.Key) + len(u.Val)
	}
	if s.waitingBytes.Add(int64(size)) > maxWaitingBytes {
		s.waitingBytes.Add(-int64(size))
		return false
	}
	p.size = size
	return true
}

// letGo gives the room of p back. p is locked.
func (s *Server) letGo(p *publish) {
	s.waitingBytes.Add(-int64(p.size))
	p.size = 0
}

// tooDeep reports whether a topic or filter is beyond what is worked with.
func tooDeep(topic string) bool {
	return len(topic) > maxTopicBytes || strings.Count(topic, "/") >= maxLevels
}

// retained is the size of what mochi keeps for later subscribers.
type retained struct {
	mu    sync.Mutex // guards below
	sizes map[string]int
	bytes int64
}

// set notes that pk is what a topic now retains; none without a payload.
func (r *retained) set(pk packets.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(pk.TopicName)
	if len(pk.Payload) > 0 {
		size := retainedSize(pk)
		r.sizes[pk.TopicName] = size
		r.bytes += int64(size)
	}
}

func retainedSize(pk packets.Packet) int {
	return len(pk.TopicName) + len(pk.Payload) + publishOverhead
}

func (r *retained) expired(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(topic)
}

func (r *retained) forget(topic string) {
	r.bytes -= int64(r.sizes[topic])
	delete(r.sizes, topic)
}

// fits reports whether pk may be retained. Several at once may pass where there is room
// for one: at most one for each connection.
func (r *retained) fits(pk packets.Packet) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, replaces := r.sizes[pk.TopicName]
	return len(pk.Payload) == 0 ||
		(replaces || len(r.sizes) < maxRetained) && r.bytes-int64(old)+int64(retainedSize(pk)) <= maxRetainedBytes
}

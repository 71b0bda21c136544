package api

import (
	"time"

	"github.com/headwater/headwater/broker/quota"
	"github.com/headwater/headwater/broker/wire"
)

// answer encodes what was found, as far as the session has it told.
func (f *fetching) answer() [][]byte {
	if f.throttle > 0 && f.size == 0 {
		return f.throttled()
	}
	resp := &wire.FetchResponse{Version: f.req.Version}
	var told func(int) bool
	resp.SessionID, resp.Code, told = f.api.sessions.tell(&f.scope, f.found, time.Now())
	resp.Topics = f.topics(told)
	pieces := resp.Frames(f.header.CorrelationID)
	size := -f.size // what was read counts already
	for _, p := range pieces {
		size += int64(len(p))
	}
	f.spend(max(size, 0))
	return pieces
}

// throttled tells a client that owes time how much, and nothing else: the Java client
// throws an answer to a whole request away that has both records and a throttle time
// (KIP-219). The answer itself counts for nothing, or a client with a low rate would
// owe for being told that it owes. It is not heard before its time is over.
func (f *fetching) throttled() [][]byte {
	f.conn.Mute(f.throttle)
	resp := &wire.FetchResponse{Version: f.req.Version, ThrottleMillis: int32(f.throttle.Milliseconds())}
	resp.SessionID, resp.Code = f.api.sessions.tellNone(&f.scope)
	return resp.Frames(f.header.CorrelationID)
}

// topics lists the partitions that are told, by topic as far as those of one stand
// together: their order is what the client goes by.
func (f *fetching) topics(told func(int) bool) (out []wire.FetchedTopic) {
	var last fetchTarget
	for i, ask := range f.scope.asks {
		if !told(i) {
			continue
		}
		if len(out) == 0 || !ask.sameTopic(last) {
			out = append(out, wire.FetchedTopic{Topic: ask.topic, ID: ask.id})
		}
		last = ask.fetchTarget
		of := &out[len(out)-1]
		of.Partitions = append(of.Partitions, f.found[i])
	}
	return out
}

// allow sets how much may be read now by what the client may still have. One that
// has had too much is answered at once, with what was gathered for it before.
func (f *fetching) allow() {
	portion, throttle := f.api.quotas.Portion(f.api.cluster.Snapshot().Quotas, quota.Fetch, f.header.ClientID, time.Now())
	f.maxBytes = min(f.limit, f.size+min(portion, f.limit))
	f.throttle = throttle
}

// spend counts bytes that the client gets.
func (f *fetching) spend(bytes int64) {
	f.api.quotas.Spend(f.api.cluster.Snapshot().Quotas, quota.Fetch, f.header.ClientID, bytes, time.Now())
}

package mqtt

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// snapshot is what the store says, of each key the last.
type snapshot struct {
	records map[string]said
	lastUp  int64 // Unix seconds of the last record: the box was up then
	skipped int
	first   error // why the first was skipped
	most    int   // bytes of records
	bytes   int
}

// said is the last value of a key, and which of all records that was.
type said struct {
	order int
	value []byte
}

func (s *snapshot) skip(err error) {
	if s.skipped++; s.first == nil {
		s.first = err
	}
}

// read takes in one record after another.
func (s *snapshot) read(order int, timestamp int64, key, value []byte) {
	s.lastUp = max(s.lastUp, timestamp/1000)
	k := string(key)
	old, known := s.records[k]
	if known {
		s.bytes -= entry{k, old.value}.size()
		delete(s.records, k)
	}
	if value == nil {
		return
	}
	if known { // a message that is released keeps its place
		order = old.order
	}
	e := entry{k, value}
	if _, err := parseStateKey(k); err != nil {
		s.skip(err)
		return
	}
	if s.bytes+e.size() > s.most {
		s.skip(errTooMuchState)
		return
	}
	s.bytes += e.size()
	s.records[k] = said{order, slices.Clone(value)}
}

// restoreFactor is how much more than the messages of sessions is read, for
// subscriptions and retained messages: a log that is damaged may hold anything.
const restoreFactor = 4

var errTooMuchState = errors.New("there is more MQTT state than may be kept")

// restore makes mochi what it was. What cannot be read is left out.
func (st *state) restore() {
	start := time.Now()
	snap := snapshot{records: map[string]said{}, most: int(restoreFactor * st.server.cfg.StateBytes)}
	order := 0
	skipped, err := st.journal.store.ReadState(func(timestamp int64, key, value []byte) {
		order++
		snap.read(order, timestamp, key, value)
	})
	if err != nil {
		st.log.Error("MQTT state not read to its end; sessions and retained messages may be missing", "err", err)
	}
	snap.skipped += skipped
	r := restorer{
		state: st, snap: &snap, now: start,
		clients: map[string]*mochi.Client{},
	}
	r.all()
	st.metrics.skipped.Add(float64(snap.skipped))
	if snap.skipped > 0 {
		st.log.Warn("records of MQTT state could not be read, and were left out", "records", snap.skipped, "err", snap.first)
	}
	st.journal.add(r.gone...)
	st.log.Info("MQTT state restored", "sessions", len(st.sessions), "records", order, "took", time.Since(start))
}

// restorer puts a snapshot into a server that does not serve yet.
type restorer struct {
	*state
	snap *snapshot
	now  time.Time
	gone []entry // what is not wanted any more

	clients map[string]*mochi.Client
}

// all restores everything: sessions first, for what belongs to none is not wanted.
func (r *restorer) all() {
	keys := slices.SortedFunc(maps.Keys(r.snap.records), func(a, b string) int {
		return cmp.Compare(r.snap.records[a].order, r.snap.records[b].order)
	})
	byKind := map[string][]named{}
	for _, key := range keys {
		n, _ := parseStateKey(key) // what cannot be was skipped
		byKind[n.kind] = append(byKind[n.kind], n)
	}
	for _, kind := range []struct {
		name    string
		restore func(n named, value []byte) (wanted bool, err error)
	}{
		{kindSession, r.session},
		{kindSubscription, r.subscription},
		{kindReceived, r.receivedID},
		{kindMessage, r.message},
		{kindRetained, r.retained},
	} {
		for _, n := range byKind[kind.name] {
			key := n.key()
			wanted, err := kind.restore(n, r.snap.records[key].value)
			if err != nil {
				r.snap.skip(err)
			}
			if !wanted {
				r.gone = append(r.gone, entry{key, nil})
			}
		}
	}
}

// trustedSince is when a wall clock may be right: before, a box has not heard of the
// time yet.
var trustedSince = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

// left is for how long a session is still kept. How long its client has been away
// counts as far as it is known: while the box was up, by a clock that was right.
func (s sessionRecord) left(lastUp int64, most time.Duration) time.Duration {
	expiry := min(time.Duration(s.Expiry)*time.Second, most)
	if s.Left >= trustedSince && lastUp > s.Left {
		expiry -= time.Duration(lastUp-s.Left) * time.Second
	}
	return expiry
}

func (r *restorer) session(n named, value []byte) (bool, error) {
	var s sessionRecord
	if _, err := parseStateValue(value, &s); err != nil {
		return false, err
	}
	left := s.left(r.snap.lastUp, r.server.cfg.SessionExpiry)
	if left <= 0 {
		return false, nil
	}
	cl := r.server.mochi.NewClient(nil, listenerID, n.client, false)
	cl.Properties.ProtocolVersion = 5 // which lets mochi keep it: reap ends it
	cl.Properties.Props.SessionExpiryInterval, cl.Properties.Props.SessionExpiryIntervalFlag = math.MaxUint32, true
	cl.Stop(packets.ErrServerShuttingDown)
	r.server.mochi.Clients.Add(cl)
	k := newKept(cl)
	k.expires = r.now.Add(left)
	r.sessions[n.client] = k
	r.server.sessions[n.client] = newSession()
	r.clients[n.client] = cl
	return true, nil
}

func (r *restorer) subscription(n named, value []byte) (bool, error) {
	cl := r.clients[n.client]
	if cl == nil {
		return false, nil
	}
	var s subscriptionRecord
	if _, err := parseStateValue(value, &s); err != nil {
		return false, err
	}
	sub := packets.Subscription{
		Filter: n.what, Qos: s.QoS, Identifier: s.Identifier, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling,
	}
	r.server.mochi.Topics.Subscribe(n.client, sub)
	cl.State.Subscriptions.Add(sub.Filter, sub)
	r.sessions[n.client].filters[sub.Filter] = true
	return true, nil
}

func (r *restorer) receivedID(n named, _ []byte) (bool, error) {
	k := r.sessions[n.client]
	if k == nil {
		return false, nil
	}
	k.received[n.id] = true
	r.server.sessions[n.client].received[n.id] = true
	return true, nil
}

func (r *restorer) message(n named, value []byte) (bool, error) {
	cl := r.clients[n.client]
	if cl == nil {
		return false, nil
	}
	var m messageRecord
	payload, err := parseStateValue(value, &m)
	if err != nil {
		return false, err
	}
	cl.State.Inflight.Set(m.packet(n.id, payload))
	r.server.sessions[n.client].grow(n.id, cl.State.Inflight)
	r.sessions[n.client].queued[n.id] = int64(len(value))
	r.queuedBytes += int64(len(value))
	return true, nil
}

func (r *restorer) retained(n named, value []byte) (bool, error) {
	var m messageRecord
	payload, err := parseStateValue(value, &m)
	if err != nil {
		return false, err
	}
	pk := m.packet(0, payload)
	if now := r.now.Unix(); pk.Expiry > 0 && pk.Created < trustedSince {
		pk.Expiry = now + int64(m.Interval) // from a clock that was not right
	} else if pk.Expiry > 0 && pk.Expiry < now {
		return false, nil
	}
	r.server.mochi.Topics.RetainMessage(pk)
	return true, nil
}

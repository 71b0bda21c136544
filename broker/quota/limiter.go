package quota

import (
	"container/list"
	"math"
	"sync"
	"time"
)

// MaxClients is how many clients a Limiter remembers. The one that was heard of
// longest ago goes first, and what it owed is forgotten: within Window that takes
// more clients at their limit than a box has connections.
const MaxClients = 1000

// Limiter counts what clients have. Those without a rate are not counted.
type Limiter struct {
	configured Rates

	mu      sync.Mutex               // guards all below
	clients map[string]*list.Element // of *client
	recent  list.List                // the one that was heard of last is in front
}

type client struct {
	id      string
	buckets [kinds]bucket
	usage   [kinds]usage
}

// NewLimiter returns a Limiter for clients of whom the table says nothing.
func NewLimiter(configured Rates) *Limiter {
	return &Limiter{configured: configured, clients: map[string]*list.Element{}}
}

// Portion is how many bytes the client may take now. When that is none, throttle is
// how long it is to be kept waiting.
func (l *Limiter) Portion(t *Table, k Kind, clientID string, now time.Time) (bytes int64, throttle time.Duration) {
	clientID = clip(clientID)
	rate := t.Rate(k, clientID, l.configured)
	if rate == 0 {
		return math.MaxInt64, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(clientID)
	b := &c.buckets[k]
	b.refill(rate, now)
	if throttle = b.throttle(rate); throttle > 0 {
		c.usage[k].count(0, throttle, now)
	}
	return b.portion(rate), throttle
}

// Charge counts bytes that the client has had, and returns how long it is to be kept
// waiting for it.
func (l *Limiter) Charge(t *Table, k Kind, clientID string, bytes int64, now time.Time) (throttle time.Duration) {
	return l.count(t, k, clientID, bytes, now, true)
}

// Spend is Charge for a client that is to be told with the next Portion what it
// owes.
func (l *Limiter) Spend(t *Table, k Kind, clientID string, bytes int64, now time.Time) {
	l.count(t, k, clientID, bytes, now, false)
}

func (l *Limiter) count(t *Table, k Kind, clientID string, bytes int64, now time.Time, told bool) (throttle time.Duration) {
	clientID = clip(clientID)
	rate := t.Rate(k, clientID, l.configured)
	if rate == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(clientID)
	b := &c.buckets[k]
	b.refill(rate, now)
	b.left -= float64(bytes)
	if told {
		throttle = b.throttle(rate)
	}
	c.usage[k].count(bytes, throttle, now)
	return throttle
}

// client returns the one of that id, which is the one that was heard of last now.
func (l *Limiter) client(id string) *client {
	if e, ok := l.clients[id]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*client)
	}
	if len(l.clients) >= MaxClients {
		oldest := l.recent.Back()
		delete(l.clients, l.recent.Remove(oldest).(*client).id)
	}
	c := &client{id: id}
	l.clients[id] = l.recent.PushFront(c)
	return c
}

// Usage is what a client had of one kind within the last Window.
type Usage struct {
	ClientID string
	Kind     Kind
	ByteRate float64       // bytes a second
	Throttle time.Duration // mean of the throttle times that it was told
}

// Usages lists those of all clients that are remembered.
func (l *Limiter) Usages(now time.Time) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Usage, 0, int(kinds)*len(l.clients))
	for e := l.recent.Front(); e != nil; e = e.Next() {
		c := e.Value.(*client)
		for k := range kinds {
			if c.buckets[k].at.IsZero() {
				continue // it has no rate of this kind
			}
			byteRate, throttle := c.usage[k].total(now)
			out = append(out, Usage{c.id, k, byteRate, throttle})
		}
	}
	return out
}

// clip returns what counts of a client id.
func clip(id string) string { return id[:min(len(id), MaxClientID)] }

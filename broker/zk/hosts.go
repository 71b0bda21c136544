package zk

import "math/rand/v2"

// hosts says which server is next. It keeps names, which are resolved when they are
// dialled: a box starts before its network does. It is the library's loop's alone.
type hosts struct {
	servers []string
	at      int // the server that was given last, -1 at first
	round   int // where the round began: the last that served, or the first given
}

// newHosts has the servers in a random order, so that boxes spread over them.
func newHosts(servers []string) *hosts {
	h := &hosts{servers: append([]string(nil), servers...), at: -1, round: -1}
	rand.Shuffle(len(h.servers), func(i, j int) { h.servers[i], h.servers[j] = h.servers[j], h.servers[i] })
	return h
}

// Init implements the library's HostProvider: the servers are known.
func (h *hosts) Init([]string) error { return nil }

// Len implements HostProvider.
func (h *hosts) Len() int { return len(h.servers) }

// Next returns the server after the last, and whether all were tried in vain: the
// library pauses then.
func (h *hosts) Next() (server string, roundOver bool) {
	h.at = (h.at + 1) % len(h.servers)
	roundOver = h.at == h.round
	if h.round < 0 {
		h.round = 0
	}
	return h.servers[h.at], roundOver
}

// Connected notes that the last server serves.
func (h *hosts) Connected() { h.round = h.at }

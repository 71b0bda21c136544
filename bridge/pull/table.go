package pull

import (
	"bytes"
	"slices"
)

// route is one subject that is spoken, and what answers it.
type route struct {
	// pattern is the subject behind "$JS.", without the domain: * stands for one
	// token, > at the end for one or more.
	pattern string
	// kind is the type that answers have in their JSON, behind
	// "io.nats.jetstream.api.v1."; "" where they have none.
	kind string
	// where says which goroutine runs handle.
	where place
	// handle does what is asked. It keeps nothing of the call.
	handle func(*Service, *call)
}

// place is where a route's handler runs.
type place int8

const (
	// onWorker: the handler may read the log and answer, and wait for both.
	onWorker place = iota
	// onReader: the handler runs within Take, before the next request is read, and
	// waits for nothing. It sees every request, also one without a reply.
	onReader
)

// maxTokens bounds the tokens that wildcards of a pattern can stand for.
const maxTokens = 4

// tokens are what a pattern's wildcards stand for in a subject, in their order.
type tokens [maxTokens][]byte

// routes is every subject that is spoken. What is asked most comes first.
func routes() []route {
	return slices.Concat(consumerTraffic, streamRoutes, consumerRoutes, refusedRoutes)
}

// find returns the route of a subject behind "$JS.", nil when it is none of them.
func find(table []route, subject []byte) (*route, tokens) {
	for i := range table {
		if t, ok := match(table[i].pattern, subject); ok {
			return &table[i], t
		}
	}
	return nil, tokens{}
}

// match holds subject against pattern.
func match(pattern string, subject []byte) (tokens, bool) {
	var t tokens
	n := 0
	for pattern != "" {
		var want string
		want, pattern = firstToken(pattern)
		if want == ">" {
			if len(subject) == 0 {
				return tokens{}, false
			}
			t[n] = subject
			return t, true
		}
		token, rest, more := bytes.Cut(subject, dot)
		switch {
		case len(token) == 0 || more != (pattern != ""):
			return tokens{}, false
		case want == "*":
			t[n] = token
			n++
		case string(token) != want:
			return tokens{}, false
		}
		subject = rest
	}
	return t, true
}

var dot = []byte(".")

func firstToken(pattern string) (token, rest string) {
	for i := range len(pattern) {
		if pattern[i] == '.' {
			return pattern[:i], pattern[i+1:]
		}
	}
	return pattern, ""
}

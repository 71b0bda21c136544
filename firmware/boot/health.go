package boot

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// health is what headwater serve says of itself.
type health struct {
	alive bool   // it answers
	ready bool   // all that it is there for works
	why   string // not, in its own words
}

const (
	probeTimeout = 5 * time.Second
	maxWhy       = 400 // bytes of an answer
)

// probe asks the admin port at address. An answer that is not 200 is one: it is alive.
func probe(ctx context.Context, address string) health {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return health{why: err.Error()}
	}
	resp, err := probeClient.Do(req)
	if err != nil {
		return health{why: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxWhy))
	if err != nil {
		return health{why: err.Error()}
	}
	if resp.StatusCode != http.StatusOK {
		return health{alive: true, why: fmt.Sprintf("%d: %s", resp.StatusCode, strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "; "))}
	}
	return health{alive: true, ready: true}
}

// probeClient opens a connection for each question: one that was left open may belong
// to a process that is gone.
var probeClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

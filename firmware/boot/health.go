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
	ready bool   // it has all that was asked for
	why   string // not, in its own words
}

const (
	probeTimeout = 5 * time.Second
	maxWhy       = 400 // bytes of an answer
)

// probe asks the admin port at address whether it is ready, and with caughtUp whether
// the broker has caught up with its region, too. An answer that is not 200 is one: it is
// alive.
func probe(ctx context.Context, address string, caughtUp bool) health {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "http://" + address + "/readyz"
	if caughtUp {
		url += "?caught-up=true"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
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

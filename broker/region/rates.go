package region

import (
	"github.com/headwater/headwater/broker/cluster"
)

// throttle tells the host at which rate throttled replicas are to follow, if that is
// another than before. r.mu is held.
func (r *Region) throttle() {
	rate, set := r.rates().Changed(cluster.FollowerRate)
	if now := (followerRate{rate, set}); r.throttled == nil || *r.throttled != now {
		r.throttled = &now
		r.host.Throttle(rate, set)
	}
}

// followerRate is what the host was told last.
type followerRate struct {
	bytesPerSecond int64
	set            bool
}

// rates are those that were changed. r.mu is held.
func (r *Region) rates() cluster.Rates {
	return cluster.Rates{AllBrokers: ratesIn(r.image.AllBrokers), ThisBroker: ratesIn(r.image.ThisBroker)}
}

func ratesIn(set map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range cluster.RateNames() {
		if value, ok := set[name]; ok {
			out[name] = value
		}
	}
	return out
}

package ingest

import (
	"time"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
)

// ruleSettings is what a rule says of its messages, as it is used here.
type ruleSettings struct {
	linger          time.Duration
	codec           record.Codec // of the batches that its messages open
	maxMessageBytes int          // of a message with its headers; 0 is no limit
}

// settingsOf takes over what table says, with cfg's linger for rules that say none.
func settingsOf(table *subject.Table, rules int, cfg Config) []ruleSettings {
	all := make([]ruleSettings, rules)
	for i := range all {
		s := table.Settings(i)
		all[i] = ruleSettings{s.Linger, codecOf(s.Compression), int(min(s.MaxMessageBytes, 1<<30))}
		if s.Linger == 0 {
			all[i].linger = cfg.Linger
		}
	}
	return all
}

// codecOf is the codec by its name; no name is none.
func codecOf(name string) record.Codec {
	for c := record.None; c <= record.Zstd; c++ {
		if c.String() == name {
			return c
		}
	}
	return record.None
}

// allows reports whether m is no larger than its rule lets it be.
func (s *ruleSettings) allows(m *Message) bool {
	return s.maxMessageBytes == 0 || len(m.Headers)+len(m.Payload) <= s.maxMessageBytes
}

package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// commitMark begins the metadata of a commit that is a consumer's. Commits of Kafka's
// own consumers do not begin like that.
const commitMark = "jetstream/1 "

// commitState is what the metadata of a durable consumer's commit says, beside the
// committed offset, which is the first that is not done. docs/FORMATS.md has the
// format.
type commitState struct {
	Created  int64          `json:"created"`            // Unix milliseconds
	Next     int64          `json:"next"`               // where new records are looked for, from the committed offset
	Sequence uint64         `json:"seq"`                // deliveries so far
	Unacked  string         `json:"unacked,omitempty"`  // from the committed offset: 0-3,7; what lies before Next and is not here is done
	Counts   string         `json:"delivers,omitempty"` // of Unacked those that were given more than once: 7:3
	Config   consumerConfig `json:"config"`
}

// errCommitTooLarge says that even a consumer's configuration does not fit.
var errCommitTooLarge = errors.New("the consumer's configuration does not fit into a commit's metadata")

// encodeCommit writes metadata of at most maxBytes about p. Where not all fits, it
// says less: what is not said to be done comes again after a restart.
func encodeCommit(config *consumerConfig, created time.Time, p *progress, maxBytes int) (offset int64, metadata string, err error) {
	offset = p.floor()
	state := commitState{Created: created.UnixMilli(), Next: p.next - offset, Sequence: p.sequence, Config: *config}
	bare, err := json.Marshal(&state)
	if err != nil {
		return 0, "", err
	}
	// The two lists' names, and Next in its longest form.
	room := maxBytes - len(commitMark) - len(bare) - len(`,"unacked":"","delivers":""`) - len("-9223372036854775808")
	if room < 0 {
		return 0, "", fmt.Errorf("%w: %d bytes, at most %d are allowed", errCommitTooLarge, len(bare), max(0, maxBytes-len(bare)+room))
	}
	state.Unacked, state.Next = encodeUnacked(p, offset, room)
	state.Counts = encodeCounts(p, offset, offset+state.Next, room-len(state.Unacked))
	text, err := json.Marshal(&state)
	if err != nil {
		return 0, "", err
	}
	return offset, commitMark + string(text), nil
}

// encodeUnacked lists what is pending, as ranges from offset on. Where the list would
// be longer than room, it ends, and next is where.
func encodeUnacked(p *progress, offset int64, room int) (list string, next int64) {
	var out []byte
	for d := p.oldest; d != nil; {
		last := d
		for last.newer != nil && last.newer.offset == last.offset+1 {
			last = last.newer
		}
		before := len(out)
		if before > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, d.offset-offset, 10)
		if last != d {
			out = append(out, '-')
			out = strconv.AppendInt(out, last.offset-offset, 10)
		}
		if len(out) > room {
			return string(out[:before]), d.offset - offset
		}
		d = last.newer
	}
	return string(out), p.next - offset
}

// encodeCounts lists the deliveries of pending records before end that were given
// more than once, as far as there is room.
func encodeCounts(p *progress, offset, end int64, room int) string {
	var out []byte
	for d := p.oldest; d != nil && d.offset < end && p.redelivered > 0; d = d.newer {
		if d.count < 2 {
			continue
		}
		before := len(out)
		if before > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, d.offset-offset, 10)
		out = append(out, ':')
		out = strconv.AppendInt(out, int64(d.count), 10)
		if len(out) > room {
			return string(out[:before])
		}
	}
	return string(out)
}

// decodeCommit reads what encodeCommit wrote. ours is false for other metadata.
func decodeCommit(metadata string) (state commitState, ours bool, err error) {
	text, ours := strings.CutPrefix(metadata, commitMark)
	if !ours {
		return state, false, nil
	}
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return state, true, fmt.Errorf("metadata of a consumer's commit: %w", err)
	}
	return state, true, nil
}

// progress is where a consumer with such a commit goes on. At most maxPending records
// are taken as unacknowledged; the others come again as new ones.
func (s *commitState) progress(offset int64, maxPending int, now time.Duration) (*progress, error) {
	p := newProgress(s.Config.rules(), offset+min(max(s.Next, 0), 1<<61))
	p.sequence = s.Sequence
	counts, err := decodeCounts(s.Counts)
	if err != nil {
		return nil, err
	}
	after := int64(-1) // the list ascends
	for rest := s.Unacked; rest != ""; {
		var item string
		item, rest, _ = strings.Cut(rest, ",")
		first, last, err := decodeRange(item)
		if err != nil {
			return nil, err
		}
		if first <= after || last < first || last >= s.Next {
			return nil, fmt.Errorf("unacknowledged records %.40q are not in order", item)
		}
		for after = first; after <= last; after++ {
			if len(p.pending) >= maxPending {
				p.next = offset + after
				return p, nil
			}
			p.restore(offset+after, max(counts[after], 1), now)
		}
		after = last
	}
	return p, nil
}

func decodeRange(item string) (first, last int64, err error) {
	from, to, isRange := strings.Cut(item, "-")
	if first, err = strconv.ParseInt(from, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("unacknowledged records: %w", err)
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = strconv.ParseInt(to, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("unacknowledged records: %w", err)
	}
	return first, last, nil
}

func decodeCounts(list string) (map[int64]int, error) {
	counts := map[int64]int{}
	for rest := list; rest != ""; {
		var item string
		item, rest, _ = strings.Cut(rest, ",")
		at, count, _ := strings.Cut(item, ":")
		offset, err1 := strconv.ParseInt(at, 10, 64)
		n, err2 := strconv.ParseInt(count, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("deliveries: %w", err)
		}
		counts[offset] = int(n)
	}
	return counts, nil
}

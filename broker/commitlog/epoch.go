package commitlog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// epochStart is a leader epoch and the offset at which its first batch stands.
type epochStart struct {
	epoch       int32
	startOffset int64
}

// epochs are the leader epochs of a log's batches. Epochs and offsets both grow
// from one to the next. What is shared never changes; a new list takes its place.
type epochs []epochStart

// last is the latest epoch, -1 when there is none.
func (e epochs) last() int32 {
	if len(e) == 0 {
		return -1
	}
	return e[len(e)-1].epoch
}

// with puts an epoch at the end, where the batches from startOffset on are of it.
// What it contradicts goes: an epoch that is no earlier, or starts no earlier.
func (e epochs) with(epoch int32, startOffset int64) epochs {
	n := len(e)
	for n > 0 && (e[n-1].epoch >= epoch || e[n-1].startOffset >= startOffset) {
		n--
	}
	return append(slices.Clone(e[:n]), epochStart{epoch, startOffset})
}

// from leaves out the epochs that end at or before a log's start; the one that the
// start is in begins there.
func (e epochs) from(logStartOffset int64) epochs {
	i := 0
	for i+1 < len(e) && e[i+1].startOffset <= logStartOffset {
		i++
	}
	if len(e) == 0 || e[i].startOffset >= logStartOffset {
		return e[i:]
	}
	kept := slices.Clone(e[i:])
	kept[0].startOffset = logStartOffset
	return kept
}

// within is what of e can be in a log that was recovered: an epoch that starts at
// its end is one whose first batch was lost. Where every batch was deleted, that
// may be all there is, and stays.
func (e epochs) within(logStartOffset, logEndOffset int64) epochs {
	n := len(e.before(logEndOffset))
	if n == 0 && len(e) > 0 && logStartOffset == logEndOffset && e[0].startOffset == logEndOffset {
		n = 1
	}
	return e[:n].from(logStartOffset)
}

// before leaves out the epochs that begin at a log's end or behind it.
func (e epochs) before(logEndOffset int64) epochs {
	n := len(e)
	for n > 0 && e[n-1].startOffset >= logEndOffset {
		n--
	}
	return e[:n]
}

// endOffset answers as Kafka does (KIP-101, KIP-279): the latest epoch up to the
// one that is asked for, and where it ends, which is where the next one starts or
// the log's end. It is -1, -1 for an epoch later than all. For one earlier than all
// it is that epoch itself: its records were before the log's start, if it had any.
func (e epochs) endOffset(epoch int32, logEndOffset int64) (foundEpoch int32, endOffset int64) {
	if epoch < 0 || epoch > e.last() {
		return -1, -1
	}
	if epoch == e.last() {
		return epoch, max(logEndOffset, e[len(e)-1].startOffset)
	}
	next := 0
	for e[next].epoch <= epoch {
		next++
	}
	if next == 0 {
		return epoch, e[0].startOffset
	}
	return e[next-1].epoch, e[next].startOffset
}

// formatEpochs is a leader-epoch-checkpoint as Kafka writes it: a version, a count,
// and an epoch and its start offset in each line.
func formatEpochs(e epochs) []byte {
	out := fmt.Appendf(nil, "0\n%d\n", len(e))
	for _, s := range e {
		out = fmt.Appendf(out, "%d %d\n", s.epoch, s.startOffset)
	}
	return out
}

// parseEpochs reads what formatEpochs or Kafka wrote. Epochs or offsets that do not
// grow are damage.
func parseEpochs(data []byte) (epochs, error) {
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) < 2 || lines[0] != "0" || lines[1] != strconv.Itoa(len(lines)-2) {
		return nil, fmt.Errorf("%s is not of version 0 with as many lines as it says", epochFile)
	}
	prev := epochStart{-1, -1}
	e := make(epochs, 0, len(lines)-2)
	for _, line := range lines[2:] {
		epoch, offset, _ := strings.Cut(line, " ")
		n, err1 := strconv.ParseInt(epoch, 10, 32)
		startOffset, err2 := strconv.ParseInt(offset, 10, 64)
		s := epochStart{int32(n), startOffset}
		if err1 != nil || err2 != nil || s.epoch <= prev.epoch || s.startOffset <= prev.startOffset {
			return nil, fmt.Errorf("%s: %.80q follows epoch %d at offset %d", epochFile, line, prev.epoch, prev.startOffset)
		}
		e, prev = append(e, s), s
	}
	return e, nil
}

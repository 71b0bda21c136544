package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/firmware/layout"
)

// stateFile is the one file on the data partition that updates write.
const stateFile = "update.json"

const (
	maxStateBytes = 16 << 10
	maxWhyLen     = 500
)

// Outcome is how far an update came.
type Outcome string

const (
	Writing    Outcome = "writing"     // to its slot
	Trial      Outcome = "on trial"    // or waits for the start that tries it
	Good       Outcome = "good"        // it is what starts
	RolledBack Outcome = "rolled back" // the other slot runs again
	Failed     Outcome = "failed"      // it was not written to its end, or not tried
)

// Result is what became of the last update.
type Result struct {
	Slot    layout.Slot `json:"slot"`
	Version string      `json:"version"`
	From    string      `json:"from,omitempty"` // the version that ran
	Outcome Outcome     `json:"outcome"`
	Why     string      `json:"why,omitempty"` // a sentence where it is not good
	At      time.Time   `json:"at"`            // by the box's clock, which may be wrong
	// CaughtUp is that the broker had caught up with its region before: then the trial asks
	// for that, too. A box whose link was down is not asked for more than it had.
	CaughtUp bool `json:"caughtUp,omitempty"`
}

// loadResult returns what was saved; nil where nothing was, or nothing that can be read:
// an update does not fail for what is there only to be told.
func (b *Box) loadResult() (*Result, error) {
	text, err := disk.ReadFile(b.FS, filepath.Join(b.StateDir, stateFile), maxStateBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what became of the last update: %w", err)
	}
	var r Result
	if json.Unmarshal(text, &r) != nil || r.Outcome == "" {
		return nil, nil
	}
	if _, err := layout.ParseSlot(string(r.Slot)); err != nil {
		return nil, nil
	}
	return &r, nil
}

func (b *Box) saveResult(r Result) error {
	if len(r.Why) > maxWhyLen {
		r.Why = strings.ToValidUTF8(r.Why[:maxWhyLen], "") + "…"
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = b.FS.MkdirAll(b.StateDir, 0o755)
	}
	if err == nil {
		err = disk.WriteFile(b.FS, filepath.Join(b.StateDir, stateFile), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("save how far the update is: %w", err)
	}
	return nil
}

// noted logs that the state could not be saved. Nothing else depends on it: an update
// goes on, also where the data partition is full or broken, which it may mend.
func (b *Box) noted(err error) {
	if err != nil {
		b.Log.Warn("state of updates not saved", "err", err)
	}
}

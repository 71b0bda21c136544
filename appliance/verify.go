package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/disk"
)

// What Verify takes and gives is the broker's.
type (
	VerifyOptions = broker.VerifyOptions
	VerifySummary = broker.VerifySummary
	Finding       = broker.Finding
)

// Verify looks through the data directory of an appliance that does not run, and
// repairs it if o says so. A directory that it was called with wrongly is told as
// config.Problems.
func Verify(ctx context.Context, o VerifyOptions) (VerifySummary, error) {
	o.BrokerID = brokerID
	sum, err := broker.Verify(ctx, o)
	text := ""
	switch {
	case errors.Is(err, disk.ErrLocked):
		text = "is held by another process, a headwater that runs perhaps; allowed is one that no other holds"
	case errors.Is(err, broker.ErrNoData), errors.Is(err, fs.ErrNotExist) && sum == (VerifySummary{}), errors.Is(err, syscall.ENOTDIR) && sum == (VerifySummary{}):
		text = "is no data directory of headwater's"
	}
	if text != "" {
		return sum, config.Problems{{Key: "verify", Text: fmt.Sprintf("%s %s", o.DataDir, text)}}
	}
	return sum, err
}

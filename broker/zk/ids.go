package zk

import (
	"context"
	"fmt"
	"math"

	"github.com/go-zookeeper/zk"
)

// GenerateBrokerID returns a broker id that no other broker was given, above those
// that operators may choose (reserved.broker.max.id). It is the version of a node that
// is written each time; a lost answer costs a number.
func (s *Session) GenerateBrokerID(ctx context.Context, reservedMax int32) (int32, error) {
	if err := s.ensure(ctx, brokerSeqIDPath); err != nil {
		return 0, err
	}
	version, err := read(ctx, s, "write "+brokerSeqIDPath, func(c *zk.Conn) (int32, error) {
		stat, err := c.Set(s.at(brokerSeqIDPath), nil, anyVersion)
		if err != nil {
			return 0, err
		}
		return stat.Version, nil
	})
	if err != nil {
		return 0, err
	}
	if version < 0 || version > math.MaxInt32-reservedMax {
		return 0, fmt.Errorf("no broker ids are left above %d", reservedMax)
	}
	return reservedMax + version, nil
}

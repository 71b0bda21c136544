package api

import (
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/server"
)

// caller is who sent a request.
type caller struct {
	clientID string
	host     string          // as Kafka's tools show it: "/192.168.0.7"
	leaving  <-chan struct{} // closed when nobody should be kept waiting any longer
}

// withCaller is on for methods that must know who asks, or may keep him waiting.
func withCaller[R kmsg.Request](method func(*API, context.Context, caller, R) kmsg.Response) startFunc {
	return func(a *API, _ context.Context, frame []byte, c server.Conn) (server.Request, error) {
		h, req, err := decode[R](frame)
		if err != nil {
			return nil, err
		}
		from := caller{clientID: h.ClientID, host: clientHost(c), leaving: c.Leaving()}
		return server.FinishFunc(func(ctx context.Context) (server.Answer, error) {
			return answer(h, method(a, ctx, from, req)), nil
		}), nil
	}
}

func clientHost(c server.Conn) string {
	if addr, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return "/" + addr.IP.String()
	}
	return "/" + c.RemoteAddr().String()
}

// await returns what comes by the channel, or an error when ctx or the caller does
// not wait for it any longer. A nil leaving waits as long as ctx.
func await[T any](ctx context.Context, leaving <-chan struct{}, answers <-chan T) (result T, err error) {
	select {
	case result = <-answers:
		return result, nil
	case <-leaving:
		return result, errLeaving
	case <-ctx.Done():
		return result, ctx.Err()
	}
}

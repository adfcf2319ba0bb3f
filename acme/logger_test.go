package acme

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	log := zapLogger(slog.New(slog.NewTextHandler(&out, options))).Named("renew").With(zap.String("name", "example.com"))
	log.Info("lock acquired") // a step, not news
	log.Warn("slow", zap.Int("seconds", 3))
	log.Error("failed", zap.Error(errors.New("disk full")))
	log.Error("could not get certificate from issuer", zap.Error(errors.New("a keeper says so")))
	log.Error("updating ARI", zap.Error(errors.New("the issuer says so")))
	log.Error("job failed", zap.Error(fmt.Errorf("[example.com] %w", errLeft)))
	want := `level=WARN msg=slow name=example.com component=certmagic.renew seconds=3
level=ERROR msg=failed name=example.com component=certmagic.renew error="disk full"
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	options.Level = slog.LevelDebug
	zapLogger(slog.New(slog.NewTextHandler(&out, options))).Info("lock acquired")
	if !strings.HasPrefix(out.String(), "level=DEBUG msg=\"lock acquired\"") {
		t.Error(out.String())
	}
}

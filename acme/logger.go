package acme

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger lets certmagic, which knows only zap, write to our log.
func zapLogger(log *slog.Logger) *zap.Logger {
	return zap.New(bridge{log.Handler()})
}

// bridge is a zapcore.Core that hands its entries to a slog.Handler. Messages
// below a warning become debug messages: certmagic tells of every lock and
// every step, and what an operator needs of it this package says itself.
type bridge struct{ handler slog.Handler }

func (b bridge) Enabled(level zapcore.Level) bool {
	return b.handler.Enabled(context.Background(), translate(level))
}

func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{b.handler.WithAttrs(attributes(fields))}
}

func (b bridge) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(entry.Level) {
		return checked.AddCore(entry, b)
	}
	return checked
}

func (b bridge) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if told(entry, fields) {
		return nil
	}
	record := slog.NewRecord(entry.Time, translate(entry.Level), entry.Message, 0)
	record.AddAttrs(slog.String("component", "certmagic."+entry.LoggerName))
	record.AddAttrs(attributes(fields)...)
	return b.handler.Handle(context.Background(), record)
}

// told tells whether this package says the same itself: a keeper logs why an
// attempt failed, the issuer that it could not ask for renewal information, and that
// maintenance is turned away is no news.
func told(entry zapcore.Entry, fields []zapcore.Field) bool {
	switch entry.Message {
	case "could not get certificate from issuer",
		"failed updating renewal info from ACME CA", "updating ARI", "updating ARI upon managing":
		return true
	}
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && strings.Contains(err.Error(), errLeft.Error()) {
			return true
		}
	}
	return false
}

// Sync has nothing to do: slog's handlers do not buffer.
func (b bridge) Sync() error { return nil }

func translate(level zapcore.Level) slog.Level {
	switch {
	case level < zapcore.WarnLevel:
		return slog.LevelDebug
	case level == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

func attributes(fields []zapcore.Field) []slog.Attr {
	encoder := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(encoder)
	}
	attrs := make([]slog.Attr, 0, len(fields))
	for _, key := range slices.Sorted(maps.Keys(encoder.Fields)) {
		attrs = append(attrs, slog.Any(key, encoder.Fields[key]))
	}
	return attrs
}

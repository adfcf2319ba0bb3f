package mastest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// homeserver is Synapse's interface for MAS (synapse/rest/synapse/mas).
type homeserver struct {
	base   string // of the main process's client listener
	secret string
	client *http.Client
}

func (h *homeserver) provisionUser(ctx context.Context, localpart string) error {
	return h.call(ctx, "provision_user", map[string]string{"localpart": localpart})
}

func (h *homeserver) upsertDevice(ctx context.Context, localpart, device, displayName string) error {
	body := map[string]string{"localpart": localpart, "device_id": device}
	if displayName != "" {
		body["display_name"] = displayName
	}
	return h.call(ctx, "upsert_device", body)
}

func (h *homeserver) deleteDevice(ctx context.Context, localpart, device string) error {
	return h.call(ctx, "delete_device", map[string]string{"localpart": localpart, "device_id": device})
}

// call posts a body; any success will do.
func (h *homeserver) call(ctx context.Context, operation string, body map[string]string) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/_synapse/mas/"+operation, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+h.secret)
	request.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking Synapse for %s: %w", operation, err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", response.Status, said)
	}
	if err != nil {
		return fmt.Errorf("asking Synapse for %s: %w", operation, err)
	}
	return nil
}

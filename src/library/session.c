/* Sessions: one conversation's cache over an engine, and who may use it. */
#include "library/library.h"

#include "base/mem.h"

void hone_session_options_init(hone_session_options *options, size_t size) {
    const hone_session_options defaults = {0};
    hn_library_options_write(options, size, &defaults, sizeof defaults);
}

static hn_status session_open(hone_session **out, hone_engine *engine,
                              const hone_session_options *given, hn_error *err) {
    hone_session_options options;
    hone_session_options_init(&options, sizeof options);
    HN_TRY(hn_library_need(out, "out", err));
    HN_TRY(hn_library_need(engine, "engine", err));
    HN_TRY(hn_library_options_read(&options, sizeof options, given, "hone_session_options", err));
    if (options.adapter && options.adapter->engine != engine)
        return hn_fail(err, HN_USAGE, "the adapter was opened on another engine");
    hone_session *session = hn_calloc(1, sizeof *session);
    if (!session)
        return hn_fail_no_memory(err, sizeof *session);
    session->engine = engine;
    hn_library_engine_hold(engine);
    hn_status status = hn_kv_new(&session->kv, engine->model, 1,
                                 options.context ? options.context : engine->context, err);
    if (status != HN_OK) {
        hone_session_close(session);
        return status;
    }
    if (options.adapter) {
        session->adapter = options.adapter;
        hn_library_adapter_hold(session->adapter);
    }
    *out = session;
    return HN_OK;
}

hone_status hone_session_open(hone_session **out, hone_engine *engine,
                              const hone_session_options *options, hone_error *err) {
    hn_error why;
    return hn_library_report(session_open(out, engine, options, &why), &why, err);
}

void hone_session_close(hone_session *session) {
    if (!session)
        return;
    hn_speculator_free(session->speculator);
    hn_kv_free(session->kv);
    hone_adapter_close(session->adapter);
    hone_engine_close(session->engine);
    hn_free(session);
}

hn_status hn_library_session_take(hone_session *session, hn_error *err) {
    HN_TRY(hn_library_need(session, "session", err));
    if (atomic_exchange(&session->busy, true))
        return hn_fail(err, HN_USAGE,
                       "the session is in use by another call: open one session a thread");
    atomic_store(&session->cancel, false); /* one that came before is void */
    return HN_OK;
}

void hn_library_session_give(hone_session *session) {
    atomic_store(&session->busy, false);
}

hone_status hone_session_reset(hone_session *session, hone_error *err) {
    hn_error why;
    hn_status status = hn_library_session_take(session, &why);
    if (status == HN_OK) {
        hn_kv_truncate(session->kv, 0, 0);
        hn_library_session_give(session);
    }
    return hn_library_report(status, &why, err);
}

void hone_session_cancel(hone_session *session) {
    if (session)
        atomic_store(&session->cancel, true);
}

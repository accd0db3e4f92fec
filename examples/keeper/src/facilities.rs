//! What the host provides, as Rust sees it.

wit_bindgen::generate!({
    inline: "
        package coracle:keeper;

        world keeper {
            import wasi:config/store@0.2.0-rc.1;
            import wasi:logging/logging@0.1.0-draft;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:blobstore/blobstore@0.2.0-draft;
            import wasi:blobstore/container@0.2.0-draft;
            import wasi:blobstore/types@0.2.0-draft;
        }
    ",
    path: [
        "../../runtime/host/wit/blobstore/deps/io.wit",
        "../../runtime/host/wit/blobstore/deps/blobstore.wit",
        "../../runtime/host/wit/config/deps/config.wit",
        "../../runtime/host/wit/keyvalue/deps/keyvalue.wit",
        "../../runtime/host/wit/keyvalue2/deps/keyvalue.wit",
        "../../runtime/host/wit/logging/deps/logging.wit",
    ],
    generate_all,
});

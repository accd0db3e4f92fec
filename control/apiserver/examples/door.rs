//! A server alone, for trying clients: `cargo run -p apiserver --example door -- <address> <where to write the kubeconfig>`.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/harness.rs"]
mod harness;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let kubeconfig = arguments.next().unwrap_or_else(|| "kubeconfig".into());
    let door = harness::Door::open_on(&address).await;
    door.write_kubeconfig(kubeconfig.as_ref());
    println!("https://{} with {kubeconfig}", door.address);
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("{error}");
    }
    door.close().await;
}

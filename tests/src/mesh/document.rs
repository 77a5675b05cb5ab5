//! A document on a web server, which the test changes and whose readers it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The server. Dropping it ends it.
pub struct Document {
    url: String,
    served: Arc<Served>,
    serving: JoinHandle<()>,
}

struct Served {
    answer: Mutex<(u16, String)>,
    reads: AtomicU64,
}

impl Document {
    /// Serves this text.
    pub async fn serve(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/document.json", listener.local_addr().unwrap());
        let served = Arc::new(Served {
            answer: Mutex::new((200, text.to_owned())),
            reads: AtomicU64::new(0),
        });
        let for_readers = Arc::clone(&served);
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                answer(connection, &for_readers).await;
            }
        });
        Self {
            url,
            served,
            serving,
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it is answered like this.
    pub fn answer(&self, status: u16, text: &str) {
        *self.served.answer.lock().unwrap() = (status, text.to_owned());
    }

    /// How often it was read.
    pub fn reads(&self) -> u64 {
        self.served.reads.load(Ordering::SeqCst)
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request for each connection is enough here.
async fn answer(mut connection: TcpStream, served: &Served) {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut piece).await {
            Ok(length @ 1..) => head.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    served.reads.fetch_add(1, Ordering::SeqCst);
    let (status, text) = served.answer.lock().unwrap().clone();
    let answer = format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // A reader that is gone has read enough.
    let _gone = connection.write_all(answer.as_bytes()).await;
}
